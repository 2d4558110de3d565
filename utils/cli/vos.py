"""The command line of train_vos.py."""

import argparse
from collections.abc import Sequence

from models.archs import ARCHS
from utils.cli import train
from utils.cli.options import fraction, non_negative_float, non_negative_int, positive_int
from utils.cli.parser import OptionParser
from utils.cli.record import name_run
from utils.cli.settings import usual_settings


def make_parser(description: str | None = None) -> OptionParser:
    """All options."""
    parser = train.train_parser("train_vos", description)
    add = parser.group("method", train.PAPERS).add
    add("--loss_weight", non_negative_float, "beta, of the uncertainty loss; 0: cross-entropy baseline", default=0.1)
    add("--start_epoch", positive_int, "epochs before the first virtual outlier, which fill the queues: 40 %% of all")
    add("--sample_number", positive_int, "features in the queue of a class, at most as many as it has images: 1000")
    about = "draws per class and step of which the least likely are kept; the cost does not depend on it"
    add("--sample_from", positive_int, about, default=10_000)
    add("--select", positive_int, "virtual outliers kept of them", default=1)
    network = train.add_training_options(parser, ARCHS)
    about = "bottleneck behind the encoder in which the outliers are drawn: none, 0, in the paper; 64 for large images"
    network.add("--feat_dim", non_negative_int, about)
    network.add("--droprate", fraction, "dropout of the WRNs: 0.3")
    return parser


def parse_arguments(description: str | None = None, command_line: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line (by default this process's), completed by the paper's settings, checked without any data."""
    parser = make_parser(description)
    args = parser.parse_args(command_line)
    settings = train.complete(parser, args, usual_settings("vos", args.in_dataset, args.model))
    settings["start_epoch"] = max(1, round(0.4 * args.epochs))
    train.fill_in(args, settings)
    if args.loss_weight and args.start_epoch >= args.epochs:
        parser.error(
            f"--start_epoch {args.start_epoch} leaves none of --epochs {args.epochs} for virtual outliers; "
            "--loss_weight 0 trains without any"
        )
    if args.select > args.sample_from:
        parser.error(f"--select {args.select} of --sample_from {args.sample_from} draws is not possible")
    name_run(args, parser.prog, settings, "vos" if args.loss_weight else "ce")
    return args
