"""The command lines of the scripts that get data sets."""

import argparse
from pathlib import Path

from utils.cli.options import positive_int, whole_number
from utils.cli.parser import OptionParser
from utils.data.id_records import ID_SETS
from utils.files import REPOSITORY


def parse_prepare_data(description: str | None = None) -> argparse.Namespace:
    """The command line of scripts/prepare_data.py; without any task it is refused."""
    parser = OptionParser(prog="prepare_data.py", description=description)
    parser.add_argument(
        "--list", action="store_true", help="show every set, and whether it is there (counted, not read)"
    )
    parser.add_argument("--check", action="store_true", help="read what is there: counts and checksums")
    parser.add_argument(
        "--decode", action="store_true", help="with --check: decode every image file, too, and name those that fail"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        help="prepare these sets (all: every one that a script can fetch). With --list or --check: look at these only",
    )
    parser.add_argument(
        "--root",
        type=Path,
        default=REPOSITORY / "datasets",
        help="where the sets lie (default: datasets/ of this repository)",
    )
    args = parser.parse_args()
    if args.list and args.check:
        parser.error("--list and --check exclude each other")
    if not (args.list or args.check or args.only):
        parser.error("nothing to do: give --list, --check or --only NAME ...")
    if args.decode and not args.check:
        parser.error("--decode is for --check")
    if args.only:
        args.only = [part for name in args.only for part in name.split(",") if part]
    args.root = args.root.expanduser()
    return args


def parse_make_imagenet100(description: str | None = None) -> argparse.Namespace:
    """The command line of scripts/make_imagenet100.py, without a look at the disk."""
    parser = OptionParser(prog="make_imagenet100.py", description=description)
    parser.add_argument("source", type=Path, metavar="SRC", help="ImageNet: the folder with train/ and val/")
    parser.add_argument(
        "destination", type=Path, metavar="DEST", nargs="?", help="folder of the subset (default: datasets/ImageNet100)"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--classes", type=Path, metavar="FILE", help="one wnid a line (default: the public list of 100)")
    which.add_argument("--random", type=positive_int, metavar="N", help="N classes drawn with --seed")
    parser.add_argument("--seed", type=whole_number, help="of --random (default: 0)")
    parser.add_argument(
        "--copy", action="store_true", help="copy the images, about 13 GB for 100 classes; without: link"
    )
    parser.add_argument(
        "--val-labels",
        type=Path,
        metavar="FILE",
        help="where the images of val/ all lie in one folder: a table of image and wnid a line, such as Kaggle's "
        "LOC_val_solution.csv",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be made, and make nothing")
    args = parser.parse_args()
    if args.destination is None and (args.classes or args.random):
        parser.error("--classes and --random need DEST: datasets/ImageNet100 is for the public list")
    if args.seed is not None and not args.random:
        parser.error("--seed is for --random")
    args.source = args.source.expanduser()
    args.destination = (args.destination or ID_SETS["ImageNet-100"].folder).expanduser()
    return args
