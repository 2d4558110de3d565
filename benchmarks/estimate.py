"""How long a training will take, estimated from the last benchmark of a whole training step."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import report
from models.cider import CIDERNet
from utils.errors import UserError

_WHOLE_STEP = re.compile(r"whole training step, ResNet-18(?P<how>.*), (?P<batch>\d+) x 2 views")


@dataclass(frozen=True)
class Benchmark:
    """A measured step of CIDER with ResNet-18 on 32 x 32 pixels: seconds a view, and where that figure is from."""

    seconds_per_view: float
    source: str

    def seconds(self, views: int, flop_per_view: float) -> float:
        """Time for so many views of a network that needs so many operations for one, forward and backward."""
        return self.seconds_per_view * views * flop_per_view / flop_of_view(CIDERNet, 32)


def last_benchmark(device_file: str, options: Sequence[str], folder: Path = report.RESULTS) -> Benchmark:
    """The row of the device's file, or of cpu.csv, that was measured with the most of these options.

    Args:
        device_file: name of the device's CSV without its ending.    options: such as "bf16" or "--compile".
    Raises:
        UserError: no step has been measured.
    """
    path = next((path for name in (device_file, "cpu") if (path := folder / f"{name}.csv").is_file()), None)
    rows = [] if path is None else [row for row in report.read(path) if _WHOLE_STEP.fullmatch(row["what"])]
    if not rows:
        raise UserError(
            f"no step has been measured.\n  looked for : {folder}/{device_file}.csv, {folder}/cpu.csv\n"
            "  get it by  : sh scripts/benchmark.sh --only step"
        )
    row = max(rows, key=lambda row: _in_common(row, options))
    views = 2 * int(_WHOLE_STEP.fullmatch(row["what"])["batch"])
    source = f"benchmarks/results/{path.name}: {row['what']}, {row['ours_ms']} ms ({row['device']}, {row['date']})"
    if path.stem != device_file:
        source += "; this device has not been measured, see sh scripts/benchmark.sh"
    return Benchmark(float(row["ours_ms"]) / 1000 / views, source)


def _in_common(row: Mapping[str, str], options: Sequence[str]) -> int:
    how = [part for part in _WHOLE_STEP.fullmatch(row["what"])["how"].split(", ") if part]
    return sum(1 if part in options else -1 for part in how)


def flop_of_view(build: Callable[[], nn.Module], size: int, forward: str = "forward") -> float:
    """Operations of the forward and backward pass for one image, counted on shapes alone.

    Args:
        build: makes the network; nothing is allocated.    size: side of the image.    forward: method that is trained.
    """
    with torch.device("meta"):
        network = build()
        images = torch.empty(2, 3, size, size)  # two, for batch norm in training mode
    with FlopCounterMode(display=False) as counter:
        getattr(network, forward)(images).sum().backward()
    return counter.get_total_flops() / 2


def in_words(seconds: float) -> str:
    """A time as one would say it."""
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"about {seconds / length:.0f} {unit}"
    return "under two minutes"
