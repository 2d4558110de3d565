"""The command line of train_vos.py."""

import argparse
from collections.abc import Sequence

from models.archs import ARCHS
from utils.cli import options
from utils.cli import train as train_options
from utils.cli.parser import OptionParser
from utils.cli.settings import vos_settings


def parse_arguments(description: str | None = None, command_line: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line (by default this process's), completed by the paper's settings, checked without any data."""
    parser = OptionParser(prog="train_vos.py", description=description)
    train_options.add_data_options(parser)
    group = parser.add_argument_group("method")
    group.add_argument(
        "--loss_weight",
        type=options.non_negative_float,
        default=0.1,
        help="beta, weight of the uncertainty loss; 0 is the cross-entropy baseline (default: 0.1, as in the paper)",
    )
    group.add_argument(
        "--start_epoch",
        type=options.positive_int,
        metavar="E",
        help="epochs before the first virtual outlier, at least 1, which fills the queues (default: 40 %% of --epochs, "
        "as in the paper)",
    )
    group.add_argument(
        "--sample_number",
        type=options.positive_int,
        metavar="N",
        help="features that the queue of a class keeps; a class with fewer images keeps as many as it has "
        "(default: 1000, as in the paper)",
    )
    group.add_argument(
        "--sample_from",
        type=options.positive_int,
        default=10_000,
        metavar="N",
        help="draws per class and step of which the least likely are kept; the cost does not depend on it "
        "(default: 10000, as in the paper)",
    )
    group.add_argument(
        "--select",
        type=options.positive_int,
        default=1,
        metavar="N",
        help="virtual outliers kept of them (default: 1, as in the paper)",
    )
    network = train_options.add_network_options(parser, ARCHS)
    network.add_argument(
        "--feat_dim",
        type=int,
        metavar="D",
        help="bottleneck behind the encoder (batch norm, linear, ReLU) in which the outliers are drawn, 0 for none; 64 "
        "worked where 512 did not (default: 0 on digits and CIFAR, as in the paper; else 64)",
    )
    network.add_argument(
        "--droprate", type=options.fraction, help="dropout of the WRNs (default: 0.3, as in the paper)"
    )
    train_options.add_optimisation_options(parser)
    train_options.add_run_options(parser)
    train_options.add_speed_options(parser)
    args = parser.parse_args(command_line)
    settings = train_options.complete(parser, args, vos_settings(args.in_dataset, args.model))
    if args.start_epoch is None:
        args.start_epoch = settings["start_epoch"] = max(1, round(0.4 * args.epochs))
    train_options.check_training(parser, args)
    check_method(parser, args)
    train_options.name_run(parser, args, settings, "vos" if args.loss_weight else "ce")
    return args


def check_method(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Settings with which VOS could not do anything."""
    if args.loss_weight and args.start_epoch >= args.epochs:
        parser.error(
            f"--start_epoch {args.start_epoch} leaves none of --epochs {args.epochs} for virtual outliers; "
            "--loss_weight 0 trains without any"
        )
    if args.feat_dim < 0:
        parser.error(f"--feat_dim {args.feat_dim} is no dimension; 0 stands for no bottleneck")
    if args.select > args.sample_from:
        parser.error(f"--select {args.select} of --sample_from {args.sample_from} draws is not possible")
