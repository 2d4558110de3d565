"""Times of functions that are run in turn, so that a busy machine slows them alike."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch


def interleaved_medians(
    functions: Sequence[Callable[[], object]], device: torch.device, *, runs: int, warm_up: int = 2
) -> list[float]:
    """Median milliseconds of each function over `runs` rounds, after `warm_up` rounds that do not count."""
    times: list[list[float]] = [[] for _ in functions]
    for turn in range(warm_up + runs):
        for function, measured in zip(functions, times, strict=True):
            wait(device)
            start = time.perf_counter()
            function()
            wait(device)
            if turn >= warm_up:
                measured.append(1000 * (time.perf_counter() - start))
    return [statistics.median(measured) for measured in times]


def wait(device: torch.device) -> None:
    """Wait until the device has done what it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def one_thread() -> Iterator[None]:
    """One CPU thread: with more, a busy machine measures how long the threads wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
