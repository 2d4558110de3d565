"""Memory that a call takes at its worst moment."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

T = TypeVar("T")


def peak_mb(call: Callable[[], T], device: torch.device) -> tuple[float | None, T]:
    """MiB in use at the worst moment of a call above those before it, and its result.

    On a CPU that is resident memory, which only Linux tells; None elsewhere.
    """
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        result = call()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20, result
    try:
        Path("/proc/self/clear_refs").write_text("5")  # start the peak anew
    except OSError:
        return None, call()
    before = _resident_kb("VmRSS")
    result = call()
    return (_resident_kb("VmHWM") - before) / 1024, result


def _resident_kb(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
