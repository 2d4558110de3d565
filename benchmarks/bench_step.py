"""The whole training step of CIDER, as train_cider.py does it, against the bare network; on a GPU, its limits too.

Whole step: augmentation, forward pass, losses, backward pass, SGD, meter, log lines. Bare: forward pass with a plain
mean as loss, backward pass and SGD on a batch that is ready. The two take turns inside one run of the training loop.
"""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from benchmarks.rows import make_row
from benchmarks.step_checks import largest_costs, matrix_rate, synchronisation
from benchmarks.step_run import MeasuredStep, train
from benchmarks.timing import wait
from utils.data.batches import Batch

CPU_TARGET, GPU_TARGET, AUGMENTATION_TARGET = 1.10, 1.15, 0.05
FLOP_PER_VIEW = 3.3e9  # ResNet-18 on 32 x 32 pixels, forward and backward
IMAGES, EPOCHS = 50_000, 500
RUN_TARGET_MS = 15 * 60_000.0


@dataclass(frozen=True)
class Setting:
    """What is trained, and how it is timed: `turns` blocks of `block` steps of each kind, after `warm_up` turns."""

    name: str
    batch: int
    options: tuple[str, ...]
    kinds: tuple[str, ...] = ("whole", "bare")
    block: int = 1
    turns: int = 7
    warm_up: int = 2

    @property
    def all_options(self) -> tuple[str, ...]:
        return ("--batch-size", str(self.batch), *self.options)


QUICK = Setting("ResNet-18 of width 8", 8, ("--width", "8", "--print-freq", "1"), turns=2, warm_up=1)
# A line in the log with every step, which is more than the default of every 100.
CPU = Setting("ResNet-18", 64, ("--print-freq", "1"), turns=5, warm_up=1)
# Blocks, for the host runs ahead of the GPU; with one line in the log each, as by default.
GPU = Setting(
    "ResNet-18, bf16, channels_last",
    512,
    ("--amp", "bf16", "--channels-last"),
    kinds=("whole", "ready", "bare"),
    block=100,
    turns=5,
    warm_up=1,
)
GPU_COMPILED = replace(GPU, name=f"{GPU.name}, --compile", options=(*GPU.options, "--compile"))
SETTINGS = {"cpu": (CPU,), "cuda": (GPU, GPU_COMPILED)}


def measure(device: torch.device, *, quick: bool = False) -> list[dict]:
    """Rows of the step and of its largest costs; on a GPU also synchronisation, arithmetic limit and 500 epochs."""
    rows, fastest = [], None
    for setting in (QUICK,) if quick else SETTINGS[device.type]:
        times = step_times(setting, device)
        rows += _step_rows(setting, times, device)
        if fastest is None or times["whole"] < fastest[1]["whole"]:
            fastest = setting, times
    setting, times = fastest
    rows += largest_costs(setting.all_options, setting.name, device, steps=3 if device.type == "cpu" else 20)
    if device.type == "cuda":
        rows += [synchronisation(setting.all_options, device), *_limits(setting, times, device)]
    return rows


def step_times(setting: Setting, device: torch.device) -> dict[str, float]:
    """Median milliseconds of a step of each kind: "whole", "ready" (whole, but not augmented) and "bare"."""
    times: dict[str, list[float]] = {kind: [] for kind in setting.kinds}

    def in_turn(run: MeasuredStep) -> Iterator[Batch]:
        fresh, bare = run.fresh_batches(), run.bare_step()
        ready = next(fresh)
        for turn in range(setting.warm_up + setting.turns):
            for kind in setting.kinds:
                wait(device)
                start = time.perf_counter()
                for _ in range(setting.block):
                    if kind == "bare":
                        bare()
                    else:
                        yield next(fresh) if kind == "whole" else ready
                wait(device)
                if turn >= setting.warm_up:
                    times[kind].append(1000 * (time.perf_counter() - start) / setting.block)

    trained = setting.block * (setting.warm_up + setting.turns) * sum(kind != "bare" for kind in setting.kinds)
    train(in_turn, trained, device, *setting.all_options)
    return {kind: statistics.median(measured) for kind, measured in times.items()}


def _step_rows(setting: Setting, times: dict[str, float], device: torch.device) -> list[dict]:
    name = f"{setting.name}, {setting.batch} x 2 views"
    views_per_second = 2000 * setting.batch / times["whole"]
    rows = [
        make_row(
            f"whole training step, {name}",
            times["whole"],
            "forward, mean, backward, SGD on a ready batch",
            times["bare"],
            share_of_time=GPU_TARGET if device.type == "cuda" else CPU_TARGET,
            detail=f"{views_per_second:,.0f} views/s",
        )
    ]
    if "ready" in times:
        rows.append(
            make_row(
                f"augmentation within the step, {name}",
                max(times["whole"] - times["ready"], 0.001),
                "the whole step",
                times["whole"],
                share_of_time=AUGMENTATION_TARGET,
                detail="whole step less the same step on a ready batch",
            )
        )
    return rows


def _limits(setting: Setting, times: dict[str, float], device: torch.device) -> list[dict]:
    rate = matrix_rate(device)
    views = 2 * IMAGES * EPOCHS
    limit_ms = 1000 * views * FLOP_PER_VIEW / rate
    run_ms = times["whole"] * IMAGES * EPOCHS / setting.batch
    return [
        make_row(
            f"CIFAR-10, {EPOCHS} epochs, estimated from the step: {setting.name}",
            run_ms,
            f"3.3 GFLOP a view at {rate / 1e12:,.0f} TFLOP/s, the bf16 matrix rate of this run",
            limit_ms,
            limit_ms=RUN_TARGET_MS,
            detail=f"{run_ms / limit_ms:.1f} times the arithmetic limit; checkpoints and ID accuracy come on top",
        )
    ]
