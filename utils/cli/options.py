"""Command-line options shared by the scripts: the common groups, and what an argument may be."""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from utils.cli.parser import OptionGroup, OptionParser, Role
from utils.data.id_records import ID_NAMES, full_id_name


def _number(kind: Callable[[str], Any], holds: Callable[[Any], bool], text: str, *, what: str) -> Any:
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not holds(value):
        raise argparse.ArgumentTypeError(f"{text} is not {what}")
    return value


# argparse types: each takes the text of an argument, and raises ArgumentTypeError where it is something else.
whole_number = partial(_number, int, lambda value: True, what="a whole number")
non_negative_int = partial(_number, int, lambda value: value >= 0, what="a whole number of at least 0")
positive_int = partial(_number, int, lambda value: value >= 1, what="a whole number of at least 1")
finite_float = partial(_number, float, lambda value: abs(value) < float("inf"), what="a finite number")
fraction = partial(_number, float, lambda value: 0 <= value <= 1, what="a number from 0 to 1")
positive_float = partial(_number, float, lambda value: 0 < value < float("inf"), what="a number above 0")
non_negative_float = partial(_number, float, lambda value: 0 <= value < float("inf"), what="a number of at least 0")


def int_list(text: str) -> tuple[int, ...]:
    """argparse type: whole numbers separated by commas, as in 100,150,180."""
    return tuple(whole_number(part.strip()) for part in text.split(",") if part.strip())


def add_device_options(parser: OptionParser, *, amp_default: str = "off") -> OptionGroup:
    """--device (with the official --gpu N), --amp, --channels-last, --workers. Returns the group."""
    group = parser.add_argument_group("device and speed", role=Role.MANNER)
    either = group.add_mutually_exclusive_group()
    either.add_argument("--device", help="cpu, cuda, cuda:N or mps; default: cuda where there is one, else cpu")
    either.add_argument("--gpu", type=non_negative_int, metavar="N", help="official spelling of --device cuda:N")
    group.add_argument(
        "--amp",
        choices=("off", "bf16", "fp16"),
        default=amp_default,
        help="precision of the network; losses, prototypes and scores stay in float32. bf16 is the fast choice on GPUs "
        "since Ampere; on CPUs it is mostly slower (default: %(default)s)",
    )
    group.add_argument(
        "--channels-last",
        action="store_true",
        help="NHWC memory layout: faster on GPUs with --amp, and a bit on CPUs",
    )
    group.add_argument(
        "--workers",
        role=Role.CALL,
        type=non_negative_int,
        default=4,
        metavar="N",
        help="processes that decode image files; sets that are held in memory need none (default: %(default)s)",
    )
    return group


def add_id_options(parser: OptionParser, *, default: str | None = "digits") -> OptionGroup:
    """--in-dataset, --id_loc, --image-size, --download: which in-distribution images, and where they are."""
    group = parser.add_argument_group("in-distribution data")
    group.add_argument(
        "--in-dataset",
        type=full_id_name,
        choices=ID_NAMES,
        default=default,
        help="ID set. digits is embedded in scikit-learn and needs nothing; folder is a directory of your own with one "
        f"folder per class (default: {default or 'what the checkpoint was trained on'})",
    )
    group.add_argument(
        "--id_loc",
        role=Role.PLACE,
        type=Path,
        metavar="PATH",
        help="where the ID set is (default: its place below datasets/)",
    )
    group.add_argument(
        "--image-size", type=positive_int, metavar="S", help="side in pixels, for folder (64) and ImageNet-100 (224)"
    )
    group.add_argument(
        "--download", role=Role.CALL, action="store_true", help="fetch CIFAR-10 or CIFAR-100 where it is missing"
    )
    return group
