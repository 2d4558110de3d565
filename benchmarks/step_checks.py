"""Whether a training step waits for the GPU, and how fast the GPU could be."""

import statistics
import time
from collections.abc import Iterator, Sequence

import torch

from benchmarks.rows import make_row
from benchmarks.step_run import Measured, train
from benchmarks.timing import wait
from utils.data.batches import Batch
from utils.training.optimisation import WARM_UP

MATRIX = 8192


def steps_without_synchronisation(options: Sequence[str], device: torch.device, steps: int = 10) -> None:
    """Train some steps between log lines in which whatever makes the host wait for the GPU raises RuntimeError."""

    def watched(run: Measured) -> Iterator[Batch]:
        fresh = run.fresh_batches()
        for _ in range(WARM_UP + 2):  # cuDNN tries algorithms, Triton compiles, the step is recorded
            yield next(fresh)
        try:
            torch.cuda.set_sync_debug_mode("error")
            for _ in range(steps):
                yield next(fresh)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    train(watched, WARM_UP + 2 + steps, device, *options)


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
