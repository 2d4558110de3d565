"""The command line of train_cider.py."""

import argparse
from collections.abc import Sequence

from utils.cli import train
from utils.cli.options import fraction, non_negative_float, non_negative_int, positive_float, positive_int
from utils.cli.parser import OptionParser
from utils.cli.record import name_run
from utils.cli.settings import usual_settings


def make_parser(description: str | None = None) -> OptionParser:
    """All options."""
    parser = train.train_parser("train_cider", description)
    add = parser.group("method", train.PAPERS).add
    add(
        "--loss",
        ("cider", "supcon", "palm", "ce"),
        "cider; supcon, for the KNN+ and SSD+ of the tables; palm, a mixture of prototypes a class (Lu et al., ICLR "
        "2024), by OpenOOD's settings for 100 epochs; the authors' for CIFAR-100 are --model resnet34 --epochs 500 "
        "--wd 1e-6; ce, cross-entropy",
        default="cider",
    )
    add("--w", non_negative_float, "weight of the compactness loss; of palm's contrast between prototypes")
    add(
        "--proto_m",
        fraction,
        "alpha, what a sample leaves of a prototype: 0.95 on CIFAR-10, 0.5 with 100 classes, each seen rarely. What a "
        "batch leaves with palm: 0.9 with batches of 16, 0.999 with 512",
    )
    add("--cache-size", positive_int, "prototypes of each class, for palm: 6")
    add("--nearest", non_negative_int, "prototypes of its class that an image is assigned to, for palm: 5; 0 for all")
    add("--temp", positive_float, "temperature of the losses, scaled by it as in the official code", default=0.1)
    add("--no-dispersion", bool, "w * L_comp alone, the paper's ablation: nothing but chance keeps prototypes apart")
    about = "ema: moving average of the embeddings (the paper). learnable: plain parameters, the paper's ablation"
    add("--prototypes", ("ema", "learnable"), about, default="ema")
    about = "simplex: as far apart as can be, so that classes share none in short runs, as on digits and folder"
    add("--prototype-init", ("class-means", "simplex"), about)
    network = train.add_training_options(parser)
    network.add("--head", ("mlp", "linear"), "projection head; the paper's is mlp", default="mlp")
    network.add("--feat_dim", positive_int, "dimension of the embedding in which the losses live", default=128)
    parser.refuse("--start-epoch", "--resume auto, the default, finds the epoch by itself")
    parser.refuse("--normalize", "embeddings are always normalised, as in the paper")
    parser.refuse("--subset", "sets are evaluated as docs/protocols.md says; for a short training use --limit-train")
    return parser


def parse_arguments(description: str | None = None, command_line: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line (by default this process's), completed by the paper's settings, checked without any data."""
    parser = make_parser(description)
    args = parser.parse_args(command_line)
    if args.no_dispersion and args.loss != "cider":
        parser.error(f"--no-dispersion is about the two terms of --loss cider, not about {args.loss}")
    if args.loss == "palm" and (args.prototypes != "ema" or args.prototype_init):
        parser.error("--prototypes and --prototype-init are CIDER's: palm moves its own, which start at random")
    if args.loss != "palm" and (args.cache_size is not None or args.nearest is not None):
        parser.error(f"--cache-size and --nearest are about the mixture of --loss palm, not about {args.loss}")
    if args.init_from and args.loss != "palm" and args.prototype_init is None:
        args.prototype_init = "class-means"  # which trained embeddings have, and no simplex
    settings = train.complete(parser, args, usual_settings(args.loss, args.in_dataset))
    if args.loss == "palm" and args.nearest > args.cache_size:
        parser.error(f"--nearest {args.nearest} of --cache-size {args.cache_size} prototypes a class is not possible")
    if args.loss == "supcon" and args.batch_size == 1:
        parser.error("--loss supcon compares images of a batch with each other: --batch-size 1 has none to compare")
    if args.proto_m == 1:
        parser.error("--proto_m 1 would never move a prototype; the paper uses 0.5 to 0.99")
    name_run(args, parser.prog, settings, args.loss)
    return args
