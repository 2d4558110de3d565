"""The whole training steps of CIDER, VOS and MCD, as the train scripts take them, against their bare networks.

Whole step: augmentation, forward pass, losses, backward pass, SGD, meter, log lines. Bare: the same forward passes with
a plain mean as loss, backward pass and SGD on a batch that is ready. The two take turns inside one run of the training
loop; on a GPU the bare step of a compiled one is a CUDA graph as well.
"""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from benchmarks.rows import make_row
from benchmarks.step_checks import matrix_rate, synchronisation
from benchmarks.step_run import Measured, train
from benchmarks.timing import wait
from utils.data.batches import Batch

EAGER_TARGET, TARGET, AUGMENTATION_TARGET = 1.15, 1.10, 0.05
FLOP_PER_VIEW = 3.3e9  # ResNet-18 on 32 x 32 pixels, forward and backward
IMAGES, EPOCHS = 50_000, 500
RUN_TARGET_MS = 10 * 60_000.0


@dataclass(frozen=True)
class Setting:
    """What is trained, and how it is timed: `turns` blocks of `block` steps of each kind, after `warm_up` turns."""

    name: str
    batch: int
    options: tuple[str, ...]
    method: str = "cider"
    kinds: tuple[str, ...] = ("whole", "bare")
    block: int = 1
    turns: int = 5
    warm_up: int = 1
    target: float = TARGET

    @property
    def all_options(self) -> tuple[str, ...]:
        return ("--batch-size", str(self.batch), *self.options)


# A line in the log with every step, which is more than the default of every 100.
RESNET18 = ("--model", "resnet18")
NARROW = ("--width", "8", "--print-freq", "1")
QUICK = tuple(
    Setting(f"{method}, width 8", 8, (*more, *NARROW), method, turns=2)
    for method, more in (("cider", ()), ("vos", RESNET18), ("mcd", RESNET18))
)
CPU = (Setting("CIDER, ResNet-18", 64, ("--print-freq", "1")),)
# Blocks, for the host runs ahead of the GPU; with a line in the log for each 100 steps, as by default.
HALF = ("--amp", "bf16", "--channels-last")
ON_GPU = dict(block=20, turns=7, warm_up=2)
WITH_READY = ("whole", "ready", "bare")
GPU = (
    Setting("CIDER, ResNet-18, bf16", 512, HALF, kinds=WITH_READY, target=EAGER_TARGET, **ON_GPU),
    Setting("CIDER, ResNet-18, bf16, --compile", 512, (*HALF, "--compile"), kinds=WITH_READY, **ON_GPU),
    Setting("VOS, WRN-40-2, bf16, --compile", 128, (*HALF, "--compile"), "vos", **ON_GPU),
    Setting("MCD, ResNet-18, bf16, --compile", 128, (*HALF, "--compile", *RESNET18), "mcd", **ON_GPU),
)


def measure(device: torch.device, *, quick: bool = False) -> list[dict]:
    """Rows of the steps; on a GPU also synchronisation, arithmetic limit and CIDER's 500 epochs."""
    on_gpu = device.type == "cuda"
    rows = []
    for setting in QUICK if quick else GPU if on_gpu else CPU:
        times = step_times(setting, device)
        rows += _step_rows(setting, times)
        if on_gpu and setting.method == "cider" and "--compile" in setting.options:
            rows += [synchronisation(setting.all_options, device), _limit(setting, times, device)]
    return rows


def step_times(setting: Setting, device: torch.device) -> dict[str, float]:
    """Median milliseconds of a step of each kind: "whole", "ready" (whole, but not augmented) and "bare"."""
    times: dict[str, list[float]] = {kind: [] for kind in setting.kinds}

    def in_turn(run: Measured) -> Iterator[Batch]:
        fresh, bare = run.fresh_batches(), run.bare_step()
        ready = next(fresh)
        for turn in range(setting.warm_up + setting.turns):
            for kind in setting.kinds:
                wait(device)
                start = time.perf_counter()
                for _ in range(setting.block):
                    if kind == "bare":
                        bare(ready)
                    else:
                        yield next(fresh) if kind == "whole" else ready
                wait(device)
                if turn >= setting.warm_up:
                    times[kind].append(1000 * (time.perf_counter() - start) / setting.block)

    trained = setting.block * (setting.warm_up + setting.turns) * sum(kind != "bare" for kind in setting.kinds)
    train(in_turn, trained, device, *setting.all_options, method=setting.method)
    return {kind: statistics.median(measured) for kind, measured in times.items()}


def _step_rows(setting: Setting, times: dict[str, float]) -> list[dict]:
    rows = [
        make_row(
            f"whole training step, {setting.name}, batch {setting.batch}",
            times["whole"],
            "forward, mean, backward, SGD on a ready batch",
            times["bare"],
            share_of_time=setting.target,
            detail=f"{1000 * setting.batch / times['whole']:,.0f} images/s",
        )
    ]
    if "ready" in times:
        rows.append(
            make_row(
                f"augmentation within the step, {setting.name}, batch {setting.batch}",
                max(times["whole"] - times["ready"], 0.001),
                "the whole step",
                times["whole"],
                share_of_time=AUGMENTATION_TARGET,
                detail="whole step less the same step on a ready batch",
            )
        )
    return rows


def _limit(setting: Setting, times: dict[str, float], device: torch.device) -> dict:
    rate = matrix_rate(device)
    limit_ms = 1000 * 2 * IMAGES * EPOCHS * FLOP_PER_VIEW / rate
    run_ms = times["whole"] * IMAGES * EPOCHS / setting.batch
    return make_row(
        f"CIFAR-10, {EPOCHS} epochs, estimated from the step: {setting.name}",
        run_ms,
        f"3.3 GFLOP a view at {rate / 1e12:,.0f} TFLOP/s, the bf16 matrix rate of this run",
        limit_ms,
        limit_ms=RUN_TARGET_MS,
        detail=f"{run_ms / limit_ms:.1f} times the arithmetic limit; start and checkpoints come on top",
    )
