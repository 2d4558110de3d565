"""What a training step spends its time on, whether it waits for the device, and how fast the device could be."""

import statistics
import time
from collections.abc import Iterator, Sequence

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.rows import make_row
from benchmarks.step_run import MeasuredStep, train
from benchmarks.timing import wait
from utils.data.batches import Batch

WARM_UP = 3
NAMED = 3
MATRIX = 8192


def largest_costs(options: Sequence[str], name: str, device: torch.device, *, steps: int) -> list[dict]:
    """A row for each of the three operators that take most of the device's time in a step."""
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
    profiler = profile(activities=activities, acc_events=True)

    def profiled(run: MeasuredStep) -> Iterator[Batch]:
        fresh = run.fresh_batches()
        for _ in range(WARM_UP):
            yield next(fresh)
        wait(device)
        profiler.start()
        for _ in range(steps):
            yield next(fresh)
        wait(device)
        profiler.stop()

    train(profiled, WARM_UP + steps, device, *options)
    attribute = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    costs = {  # operators only: the kernels that they start are listed a second time
        event.key: getattr(event, attribute) / 1000 / steps
        for event in profiler.key_averages()
        if event.device_type == DeviceType.CPU
    }
    total = sum(costs.values())
    largest = sorted(costs, key=costs.get, reverse=True)[:NAMED]
    return [
        make_row(
            f"cost {place} of a step, {name}: {operator}",
            costs[operator],
            detail=f"{100 * costs[operator] / total:.0f} % of the time of all operators, by torch.profiler",
        )
        for place, operator in enumerate(largest, 1)
    ]


def steps_without_synchronisation(options: Sequence[str], device: torch.device, steps: int = 10) -> None:
    """Train some steps between log lines in which whatever makes the host wait for the GPU raises RuntimeError."""

    def watched(run: MeasuredStep) -> Iterator[Batch]:
        fresh = run.fresh_batches()
        for _ in range(WARM_UP):  # cuDNN tries algorithms, Triton compiles
            yield next(fresh)
        try:
            torch.cuda.set_sync_debug_mode("error")
            for _ in range(steps):
                yield next(fresh)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    train(watched, WARM_UP + steps, device, *options)


def synchronisation(options: Sequence[str], device: torch.device) -> dict:
    """A row that says whether a step makes the host wait."""
    start = time.perf_counter()
    try:
        steps_without_synchronisation(options, device)
        met, found = "yes", "none in 10 steps between log lines"
    except RuntimeError as error:
        met, found = "no", str(error).splitlines()[0]
    row = make_row("host synchronisation in a step", 1000 * (time.perf_counter() - start), detail=found)
    return row | {"target": "none", "met": met}


def matrix_rate(device: torch.device) -> float:
    """FLOP/s of a large bf16 matrix product, the median of 10 blocks of 10."""
    a, b = (torch.randn(MATRIX, MATRIX, device=device, dtype=torch.bfloat16) for _ in range(2))
    times = []
    for _ in range(12):
        wait(device)
        start = time.perf_counter()
        for _ in range(10):
            a @ b
        wait(device)
        times.append((time.perf_counter() - start) / 10)
    return 2 * MATRIX**3 / statistics.median(times[2:])
