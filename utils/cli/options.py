"""Command-line options shared by the scripts: the common groups, and what an argument may be."""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from utils.cli.parser import Group, OptionParser, Role
from utils.data.id_records import ID_NAMES, full_id_name
from utils.data.ood_table import full_ood_name
from utils.files import REPOSITORY


@dataclass(frozen=True)
class Number:
    """An argparse type: a number that fulfils a condition; any other text is refused with what it should be."""

    kind: type[int] | type[float]
    what: str
    holds: Callable[[float], bool] = lambda value: True

    def __call__(self, text: str) -> int | float:
        try:
            value = self.kind(text)
        except ValueError:
            value = None
        if value is None or not self.holds(value):
            raise argparse.ArgumentTypeError(f"{text} is not {self.what}")
        return value

    @property
    def metavar(self) -> str:
        return "N" if self.kind is int else "X"


# PyTorch's seeds have 64 bits.
whole_number = Number(int, "a whole number of at most 18 digits", lambda value: abs(value) < 10**18)
# NumPy takes no negative seeds, and scikit-learn none above.
seed_number = Number(int, f"a whole number from 0 to {2**32 - 1}", lambda value: 0 <= value < 2**32)
non_negative_int = Number(int, "a whole number of at least 0", lambda value: value >= 0)
positive_int = Number(int, "a whole number of at least 1", lambda value: value >= 1)
finite_float = Number(float, "a finite number", lambda value: abs(value) < float("inf"))
fraction = Number(float, "a number from 0 to 1", lambda value: 0 <= value <= 1)
positive_float = Number(float, "a number above 0", lambda value: 0 < value < float("inf"))
non_negative_float = Number(float, "a number of at least 0", lambda value: 0 <= value < float("inf"))


def int_list(text: str) -> tuple[int, ...]:
    """argparse type: whole numbers separated by commas, as in 100,150,180."""
    return tuple(whole_number(part.strip()) for part in text.split(",") if part.strip())


def place(text: str) -> Path:
    """argparse type: a file or folder. A recorded command has `~` where no shell replaces it."""
    return Path(text).expanduser()


def ood_set(text: str) -> str:
    """argparse type: the full name of an OOD set, or NAME=PATH."""
    name, _, path = text.partition("=")
    return f"{name}={place(path)}" if path else full_ood_name(text)


int_list.metavar, place.metavar, ood_set.metavar = "N,N,..", "PATH", "SET"


def add_device_options(parser: OptionParser) -> Group:
    """--device (with the official --gpu N), --amp, --channels-last, --workers. Returns the group."""
    group = parser.group("device and speed", role=Role.MANNER)
    either = group.either()
    either.add("--device", str, "cpu, cuda, cuda:N or mps (default: cuda where there is one, else cpu)")
    either.add("--gpu", non_negative_int, "official spelling of --device cuda:N")
    group.add(
        "--amp",
        ("off", "bf16", "fp16"),
        "precision of the network; losses, prototypes and scores stay in float32. bf16 is the fast choice on GPUs "
        "since Ampere; on a CPU it is faster with AVX-512 BF16, and mostly slower without",
        default="off",
    )
    about = (
        "NHWC layout: faster on GPUs with --amp, and a bit on CPUs, where eval_cider.py and detect.py have it anyway"
    )
    group.add("--channels-last", bool, about)
    about = "processes that decode image files (default: 4, or one for each core where there are fewer)"
    group.add("--workers", non_negative_int, about, default=min(4, _cores()), role=Role.CALL)
    return group


def _cores() -> int:
    """How many this process may use: with more workers PyTorch warns, once for each set of images."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def add_id_options(parser: OptionParser, *, default: str | None = "digits") -> Group:
    """--in-dataset, --id_loc, --image-size, --download: which in-distribution images, and where they are."""
    group = parser.group("in-distribution data")
    group.add(
        "--in-dataset",
        full_id_name,
        "ID set. digits is embedded in scikit-learn and needs nothing; folder is a directory of your own with one "
        f"folder per class (default: {default or 'what the checkpoint was trained on'})",
        choices=ID_NAMES,
        default=default,
    )
    group.add("--id_loc", place, "where it is (default: below datasets/)", role=Role.PLACE)
    group.add("--image-size", positive_int, "side in pixels, for folder (64) and ImageNet-100 (224)")
    group.add("--download", bool, "fetch CIFAR-10 or CIFAR-100 where it is missing", role=Role.CALL)
    return group


def add_checkpoints_option(group: Group) -> None:
    """--checkpoints."""
    group.add("--checkpoints", place, "folder of all runs (default: checkpoints/)", default=REPOSITORY / "checkpoints")
