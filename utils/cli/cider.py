"""The command line of train_cider.py."""

import argparse
from collections.abc import Sequence

from utils.cli import options
from utils.cli import train as train_options
from utils.cli.parser import OptionParser
from utils.cli.settings import cider_settings


def parse_arguments(description: str | None = None, command_line: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line (by default this process's), completed by the paper's settings, checked without any data."""
    parser = OptionParser(prog="train_cider.py", description=description)
    train_options.add_data_options(parser)
    group = parser.add_argument_group("method")
    group.add_argument(
        "--loss",
        choices=("cider", "supcon", "palm", "ce"),
        default="cider",
        help="cider; supcon, for the KNN+ and SSD+ of the tables; palm, a mixture of prototypes a class (Lu et al., "
        "ICLR 2024), by OpenOOD's settings for 100 epochs; the authors' for CIFAR-100 are --model resnet34 --epochs "
        "500 --wd 1e-6; ce, cross-entropy (default: cider)",
    )
    group.add_argument(
        "--w",
        type=options.non_negative_float,
        help="weight of the compactness loss: the paper uses 2 on CIFAR-10, 1 on CIFAR-100. Of palm's contrast between "
        "prototypes: 1",
    )
    group.add_argument(
        "--proto_m",
        type=options.fraction,
        help="alpha, what a sample leaves of a prototype. 0.95 on CIFAR-10; 0.5 with 100 classes, each seen rarely. "
        "What a batch leaves with palm: 0.9 with batches of 16, 0.999 with 512",
    )
    group.add_argument(
        "--cache-size",
        type=options.positive_int,
        metavar="P",
        help="prototypes of each class, for palm (default: 6)",
    )
    group.add_argument(
        "--nearest",
        type=options.non_negative_int,
        metavar="K",
        help="prototypes of its class that an image is assigned to, for palm; 0 for all (default: 5)",
    )
    group.add_argument(
        "--temp",
        type=options.positive_float,
        default=0.1,
        help="temperature T of the losses. As in the official code the compactness loss is scaled by T/0.07 and the "
        "dispersion loss by T/0.1 (default: 0.1)",
    )
    group.add_argument(
        "--no-dispersion",
        action="store_true",
        help="train with w * L_comp alone, the paper's ablation: nothing but chance then keeps prototypes apart",
    )
    group.add_argument(
        "--prototypes",
        choices=("ema", "learnable"),
        default="ema",
        help="ema: moving average of the embeddings (the paper). learnable: plain parameters, the paper's ablation",
    )
    group.add_argument(
        "--prototype-init",
        choices=("class-means", "simplex"),
        help="class-means: of the ID training set (the paper). simplex: as far apart as can be, at random; in short "
        "runs this keeps classes from sharing a prototype (default: class-means; simplex for digits and folder)",
    )
    network = train_options.add_network_options(parser)
    network.add_argument(
        "--head", choices=("mlp", "linear"), default="mlp", help="projection head (default: mlp, as in the paper)"
    )
    network.add_argument(
        "--feat_dim",
        type=options.positive_int,
        default=128,
        help="dimension of the embedding in which the losses live (default: 128)",
    )
    train_options.add_optimisation_options(parser)
    train_options.add_run_options(parser)
    train_options.add_speed_options(parser)
    parser.refuse("--start-epoch", "--resume auto, the default, finds the epoch by itself")
    parser.refuse("--normalize", "embeddings are always normalised, as in the paper")
    parser.refuse(
        "--subset", "every set is evaluated as docs/protocols.md says; for a short training use --limit-train"
    )
    args = parser.parse_args(command_line)
    _refuse_without_function(parser, args)
    if args.init_from and args.prototype_init is None:
        args.prototype_init = "class-means"  # which trained embeddings have, and no simplex
    settings = train_options.complete(parser, args, cider_settings(args.in_dataset, args.loss))
    train_options.check_training(parser, args)
    if args.loss == "palm" and args.nearest > args.cache_size:
        parser.error(f"--nearest {args.nearest} of --cache-size {args.cache_size} prototypes a class is not possible")
    if args.loss == "supcon" and args.batch_size == 1:
        parser.error("--loss supcon compares images of a batch with each other: --batch-size 1 has none to compare")
    if args.proto_m == 1:
        parser.error("--proto_m 1 would never move a prototype; the paper uses 0.5 to 0.99")
    train_options.name_run(parser, args, settings, args.loss)
    return args


def _refuse_without_function(parser: OptionParser, args: argparse.Namespace) -> None:
    """Options of one loss that were given for another."""
    if args.no_dispersion and args.loss != "cider":
        parser.error(f"--no-dispersion is about the two terms of --loss cider, not about {args.loss}")
    if args.loss == "palm" and (args.prototypes != "ema" or args.prototype_init):
        parser.error("--prototypes and --prototype-init are CIDER's: palm moves its own, which start at random")
    if args.loss != "palm" and (args.cache_size is not None or args.nearest is not None):
        parser.error(f"--cache-size and --nearest are about the mixture of --loss palm, not about {args.loss}")
