"""The command line of detect.py, checked as far as that needs no file."""

import argparse

from utils.cli.config import ConfigParser
from utils.cli.options import add_device_options, finite_float, fraction, place, positive_int, whole_number
from utils.cli.parser import OptionParser


def parse_arguments(description: str | None = None) -> argparse.Namespace:
    """The command line, checked as far as that needs no file."""
    parser = ConfigParser(prog="detect.py", description=description)
    group = parser.group("what to look at, and with what")
    network = group.either()
    network.add("--ckpt", place, "checkpoint, ours or an official one")
    about = "a trained model by name, which needs nothing else; utils/zoo.py has them: cifar10/cider/resnet18-e500-s4"
    network.add("--model", str, about)
    group.add("--images", place, "a folder of images, with folders inside or not, or one image")
    decision = parser.group("what counts as ID")
    either = decision.either()
    about = "threshold that this share of unseen ID images reaches; higher lets more OOD pass"
    either.add("--id-recall", fraction, about, default=0.95)
    either.add("--threshold", finite_float, "images that score at least X are ID")
    about = "any of eval_cider.py --list-scores (default: that of the evaluation; with --fit the method's own)"
    decision.add("--score", str, about, metavar="NAME")
    add = parser.group("output").add
    add("--csv", place, "a line a file: path, score, decision, nearest class")
    add("--json", place, "the same as JSON, with score and threshold")
    add("--sheet", place, "contact sheet, a PNG: pictures by score, ID in green frames, OOD in red ones")
    add("--sheet-images", positive_int, "at most so many there, spread evenly over the ranking", default=72)
    add = parser.group("reference statistics").add
    add("--fit", place, "make them, once, from a folder of ID images, a fifth of which is for the threshold")
    add("--K", positive_int, "with --fit: neighbour that counts (default: 10; the paper has 100 for 50,000 images)")
    add("--seed", whole_number, "with --fit: draws the fifth that is held out (default: 0)")
    add("--reference", place, "where the statistics are (default: beside the checkpoint)")
    device = add_device_options(parser)
    about = "images per forward pass (default: 128, on a CPU 16 a thread)"
    device.add("--batch-size", positive_int, about, also="-b")
    args = parser.parse_args()
    _check(parser, args)
    return args


def _check(parser: OptionParser, args: argparse.Namespace) -> None:
    if args.ckpt is None and args.model is None:
        parser.error("one of the arguments --ckpt --model is required")
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
    if args.csv and args.csv == args.json:
        parser.error(f"--csv and --json are both {args.csv}; give one of them another name")
