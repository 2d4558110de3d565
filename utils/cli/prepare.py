"""The command lines of the scripts that get data sets."""

import argparse

from utils.cli.options import place, positive_int, whole_number
from utils.cli.parser import OptionParser
from utils.data.id_records import ID_SETS
from utils.files import REPOSITORY


def parse_prepare_data(description: str | None = None) -> argparse.Namespace:
    """The command line of scripts/prepare_data.py; without any task it is refused."""
    parser = OptionParser(prog="prepare_data.py", description=description)
    add = parser.group("what to do").add
    add("--list", bool, "every set, and whether it is there (counted, not read)")
    add("--check", bool, "read what is there: counts and checksums")
    add("--decode", bool, "with --check: also decode every image file")
    about = "prepare these sets (all: every one that a script can fetch). With --list or --check: look at these only"
    add("--only", str, about, nargs="+", metavar="NAME")
    add("--root", place, "where the sets lie (default: datasets/)", default=REPOSITORY / "datasets")
    args = parser.parse_args()
    if args.list and args.check:
        parser.error("--list and --check exclude each other")
    if not (args.list or args.check or args.only):
        parser.error("nothing to do: give --list, --check or --only NAME ...")
    if args.decode and not args.check:
        parser.error("--decode is for --check")
    if args.only:
        args.only = [part for name in args.only for part in name.split(",") if part]
    return args


def parse_make_imagenet100(description: str | None = None) -> argparse.Namespace:
    """The command line of scripts/make_imagenet100.py, without a look at the disk."""
    parser = OptionParser(prog="make_imagenet100.py", description=description)
    group = parser.group("what to make")
    group.add("source", place, "ImageNet: the folder with train/ and val/", metavar="SRC")
    group.add("destination", place, "of the subset (default: datasets/ImageNet100)", metavar="DEST", nargs="?")
    which = group.either()
    which.add("--classes", place, "one wnid a line (default: the public list of 100)")
    which.add("--random", positive_int, "N classes drawn with --seed")
    group.add("--seed", whole_number, "of --random (default: 0)")
    group.add("--copy", bool, "copy the images, 13 GB for 100 classes; without: link")
    about = (
        "where the images of val/ lie in one folder: a table of image and wnid a line, as Kaggle's LOC_val_solution.csv"
    )
    group.add("--val-labels", place, about)
    group.add("--dry-run", bool, "say what would be made, and make nothing")
    args = parser.parse_args()
    if args.destination is None and (args.classes or args.random):
        parser.error("--classes and --random need DEST: datasets/ImageNet100 is for the public list")
    if args.seed is not None and not args.random:
        parser.error("--seed is for --random")
    args.destination = args.destination or ID_SETS["ImageNet-100"].folder
    return args
