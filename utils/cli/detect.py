"""The command line of detect.py, checked as far as that needs no file."""

import argparse
from pathlib import Path

from utils.cli import options
from utils.cli.parser import OptionParser


def parse_arguments(description: str | None = None) -> argparse.Namespace:
    """The command line, checked as far as that needs no file."""
    parser = OptionParser(prog="detect.py", description=description)
    network = parser.add_mutually_exclusive_group(required=True)
    network.add_argument("--ckpt", type=Path, metavar="FILE", help="checkpoint, ours or an official one")
    network.add_argument(
        "--model",
        metavar="NAME",
        help="a trained model by name, which needs nothing else; utils/zoo.py has them: cifar10/cider/resnet18-e100-s4",
    )
    parser.add_argument(
        "--images", type=Path, metavar="PATH", help="a folder of images, with folders inside or not, or one image"
    )
    decision = parser.add_argument_group("what counts as ID")
    either = decision.add_mutually_exclusive_group()
    either.add_argument(
        "--id-recall",
        type=options.fraction,
        default=0.95,
        metavar="R",
        help="threshold that this share of ID images reaches, none of which was trained on or compared "
        "with. Higher lets more OOD pass (default: 0.95)",
    )
    either.add_argument(
        "--threshold", type=options.finite_float, metavar="S", help="images that score at least S are ID"
    )
    decision.add_argument(
        "--score",
        metavar="NAME",
        help="any score that the checkpoint can give; eval_cider.py --list-scores names them (default: that of the "
        "evaluation; with --fit the one of the method's paper)",
    )
    output = parser.add_argument_group("output")
    output.add_argument("--csv", type=Path, metavar="FILE", help="a line a file: path, score, decision, nearest class")
    output.add_argument("--json", type=Path, metavar="FILE", help="the same as JSON, with score and threshold")
    output.add_argument(
        "--sheet",
        type=Path,
        metavar="FILE.png",
        help="contact sheet: pictures sorted by score, ID in green frames, OOD in red ones",
    )
    output.add_argument(
        "--sheet-images",
        type=options.positive_int,
        default=72,
        metavar="N",
        help="at most so many on the sheet, spread evenly over the ranking (default: 72)",
    )
    fit = parser.add_argument_group("reference statistics")
    fit.add_argument(
        "--fit",
        type=Path,
        metavar="FOLDER",
        help="make them from ID images, four fifths to compare with and a fifth for the threshold; they "
        "are stored, so this is needed once",
    )
    fit.add_argument(
        "--K",
        type=options.positive_int,
        help="with --fit: neighbour whose distance counts (default: 10; the paper has 100 for the 50,000 "
        "images of CIFAR-10)",
    )
    fit.add_argument(
        "--seed", type=options.whole_number, help="with --fit: draws the fifth that is held out (default: 0)"
    )
    fit.add_argument(
        "--reference", type=Path, metavar="FILE", help="where the statistics are (default: beside the checkpoint)"
    )
    options.add_device_options(parser)
    parser.add_argument(
        "-b",
        "--batch-size",
        type=options.positive_int,
        default=128,
        metavar="N",
        help="images per forward pass (default: 128)",
    )
    args = parser.parse_args()
    _check(parser, args)
    return args


def _check(parser: OptionParser, args: argparse.Namespace) -> None:
    if args.images is None and args.fit is None:
        parser.error("give --images PATH, or --fit FOLDER, or both")
    if args.images is None and (args.csv or args.json or args.sheet):
        parser.error("--csv, --json and --sheet are about --images PATH")
    if args.model and args.fit:
        parser.error("--fit is for --ckpt FILE; a --model has its reference statistics")
    if args.fit is None and (args.K or args.seed is not None):
        parser.error("--K and --seed belong to --fit")
    if args.sheet and args.sheet.suffix.lower() != ".png":
        parser.error(f"--sheet writes a PNG: {args.sheet} should end in .png")
    for flag, path in (("--csv", args.csv), ("--json", args.json), ("--sheet", args.sheet)):
        if path and path.is_dir():
            parser.error(f"{flag} {path} is a folder; give the name of a file")
