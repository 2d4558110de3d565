"""Command-line options shared by the scripts: a parser that knows the official spellings, and the common groups."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from utils.data.id_records import ID_NAMES, full_id_name
from utils.errors import one_line


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=30, width=110)


class OptionParser(argparse.ArgumentParser):
    """ArgumentParser in which `--id_loc` and `--id-loc` are the same flag, and nothing is guessed from an abbreviation.

    Flags of the official code that have no function here are refused with the reason (`refuse`).
    """

    def __init__(self, **kwargs):
        super().__init__(formatter_class=_Formatter, allow_abbrev=False, **kwargs)

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None):
        spelling = {_dashed(flag): flag for flag in self._option_string_actions if flag.startswith("--")}
        given = sys.argv[1:] if args is None else list(args)
        return super().parse_known_args([_respell(token, spelling) for token in given], namespace)

    def refuse(self, flag: str, reason: str) -> None:
        """Make `flag` an error that gives `reason`; it does not show in --help."""
        self.add_argument(flag, action=_Refused, nargs="?", help=argparse.SUPPRESS, reason=reason)


class _Refused(argparse.Action):
    def __init__(self, *args, reason: str, **kwargs):
        super().__init__(*args, default=argparse.SUPPRESS, **kwargs)
        self.reason = reason

    def __call__(self, parser, namespace, values, option_string=None):
        parser.error(f"{option_string} has no function here: {self.reason}")


def _dashed(flag: str) -> str:
    return "--" + flag[2:].replace("_", "-")


def _respell(token: str, spelling: dict[str, str]) -> str:
    """`token` with its flag (the part before any `=`) in the spelling under which the parser knows it."""
    if not token.startswith("--"):
        return token
    flag, equals, value = token.partition("=")
    return spelling.get(_dashed(flag), flag) + equals + value


def positive_int(text: str) -> int:
    """argparse type: a whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return value


def fraction(text: str) -> float:
    """argparse type: a number from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def positive_float(text: str) -> float:
    """argparse type: a finite number above 0."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value


def non_negative_float(text: str) -> float:
    """argparse type: a finite number of at least 0."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number of at least 0")
    return value


def int_list(text: str) -> tuple[int, ...]:
    """argparse type: whole numbers separated by commas, as in 100,150,180."""
    return tuple(int(part) for part in text.split(",") if part.strip())


def add_device_options(parser: argparse.ArgumentParser, *, amp_default: str = "off") -> None:
    """--device (with the official --gpu N), --amp, --channels-last, --workers."""
    group = parser.add_argument_group("device and speed")
    group.add_argument("--device", help="cpu, cuda, cuda:N or mps; default: cuda where there is one, else cpu")
    group.add_argument("--gpu", type=int, metavar="N", help="official spelling of --device cuda:N")
    group.add_argument(
        "--amp",
        choices=("off", "bf16", "fp16"),
        default=amp_default,
        help="precision of the network; losses, prototypes and scores stay in float32. bf16 is the fast choice on GPUs "
        "since Ampere; on CPUs it is mostly slower (default: %(default)s)",
    )
    group.add_argument(
        "--channels-last", action="store_true", help="NHWC memory layout: faster on GPUs with --amp, and a bit on CPUs"
    )
    group.add_argument(
        "--workers",
        type=int,
        default=4,
        metavar="N",
        help="processes that decode image files; sets that are held in memory need none (default: %(default)s)",
    )


def choose_device(parser: argparse.ArgumentParser, args: argparse.Namespace) -> torch.device:
    """The device that --device or --gpu names, checked to exist; ends the script with status 2 where it does not."""
    if args.gpu is not None and args.device is not None:
        parser.error("--gpu N is --device cuda:N; give one of the two")
    name = args.device or (f"cuda:{args.gpu}" if args.gpu is not None else None)
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        parser.error(f"--device {name} can not be used here ({one_line(error)}); --device cpu always works")
    return device


def add_id_options(parser: argparse.ArgumentParser, *, default: str | None = "digits") -> argparse._ArgumentGroup:
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
        "--id_loc", type=Path, metavar="PATH", help="where the ID set is (default: its place below datasets/)"
    )
    group.add_argument(
        "--image-size", type=positive_int, metavar="S", help="side in pixels, for folder (64) and ImageNet-100 (224)"
    )
    group.add_argument("--download", action="store_true", help="fetch CIFAR-10 or CIFAR-100 where it is missing")
    return group
