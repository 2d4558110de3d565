"""The command line of eval_cider.py, checked as far as that needs no file."""

import argparse
from pathlib import Path

from utils.cli import options
from utils.cli.command_line import command
from utils.cli.parser import OptionParser, Role
from utils.data.ood_table import full_ood_name
from utils.evaluation.benchmark import BENCHMARKS
from utils.files import REPOSITORY


def parse_arguments(description: str | None = None) -> argparse.Namespace:
    """The arguments; ends the script with status 2 where they do not fit together."""
    parser = OptionParser(prog="eval_cider.py", description=description)
    _add_checkpoint_options(parser)
    options.add_id_options(parser, default=None)
    ood = parser.add_argument_group("out-of-distribution data")
    ood.add_argument(
        "--ood_loc",
        role=Role.PLACE,
        type=Path,
        metavar="PATH",
        help="folder that holds the OOD sets (default: its place below datasets/)",
    )
    ood.add_argument(
        "--ood-sets",
        type=full_ood_name,
        nargs="+",
        metavar="SET",
        help="names, or NAME=PATH for a folder of images (default: the sets of the paper's table, and before them "
        "those in the unlabelled mix of MCD)",
    )
    ood.add_argument(
        "--benchmark",
        choices=tuple(BENCHMARKS),
        default="cider",
        help="whose OOD sets and rules: cider has the five sets of the CIDER paper and ID as the positive class, odin "
        "the five of ODIN and MCD; openood is OpenOOD v1.5 by its own lists, with near and far sets, K by validation "
        "images, and OOD as the positive class (default: %(default)s)",
    )
    ood.add_argument(
        "--scored",
        type=Path,
        metavar="FILE",
        help="score only the images of ID test, and of the OOD sets that are named there, which this split.json of "
        "train_mcd.py lists; so other methods are compared with MCD on the same images (default: all, and for an MCD "
        "checkpoint those of its own lists)",
    )
    _add_score_options(parser)
    _add_output_options(parser)
    options.add_device_options(parser)
    parser.add_argument(
        "-b",
        "--batch-size",
        type=options.positive_int,
        default=512,
        metavar="N",
        help="images per forward pass (default: 512)",
    )
    _refuse_official(parser)
    args = parser.parse_args()
    if (args.ckpt is None) == (args.name is None):
        parser.error("give the checkpoint by --name (and --epoch), or by --ckpt FILE")
    if args.ckpt is not None and args.epoch is not None:
        parser.error("--epoch chooses among the checkpoints of a --name; --ckpt is one file")
    if args.K_sweep is not None and (not args.K_sweep or min(args.K_sweep) < 1):
        parser.error("--K-sweep takes whole numbers of at least 1, separated by commas")
    args.command = command(parser, args, first={"in_dataset": None})
    args.positive = (args.positive or BENCHMARKS[args.benchmark].positive).upper()
    del args.roles  # metrics.json has all arguments
    return args


def _add_checkpoint_options(parser: OptionParser) -> None:
    group = parser.add_argument_group("checkpoint: --name or --ckpt", role=Role.CALL)
    group.add_argument("--name", help="folder of a run, in checkpoints/<ID set>/")
    group.add_argument(
        "--epoch", type=options.positive_int, metavar="E", help="epoch of that run (default: the last that is there)"
    )
    group.add_argument("--ckpt", type=Path, metavar="FILE", help="a checkpoint file, wherever it is")
    group.add_argument(
        "--checkpoints",
        type=Path,
        default=REPOSITORY / "checkpoints",
        metavar="DIR",
        help="folder of all runs (default: checkpoints/)",
    )


def _add_score_options(parser: OptionParser) -> None:
    group = parser.add_argument_group("scores and metrics")
    group.add_argument(
        "--score",
        nargs="+",
        metavar="NAME",
        help="one or several, which then stand side by side; `all` is every one that the checkpoint can "
        "give. Plots show the first (default: energy for the networks of train_vos.py and discrepancy for "
        "those of train_mcd.py, as in their papers; else knn)",
    )
    group.add_argument("--list-scores", action=_ListScores, help="print every score, what it needs, its paper; and end")
    group.add_argument(
        "--K",
        type=_k_or_auto,
        metavar="K|auto",
        help="neighbour whose distance counts for knn. The paper uses 100 on CIFAR-10, 300 on CIFAR-100 "
        "and ImageNet-100; digits has 5 and folder 10 here. auto takes the one that tells ID test "
        "from Gaussian noise best, without a look at any OOD test set",
    )
    group.add_argument(
        "--bank",
        type=options.positive_int,
        metavar="N",
        help="fit scores to N ID training images, drawn with --seed and equally many of each class, in place of all; K "
        "in proportion. What detect.py needs is then a small file, to be handed on with the checkpoint",
    )
    group.add_argument(
        "--K-sweep",
        type=options.int_list,
        metavar="K,K,...",
        help="also a table and a plot of the KNN score over these K, from one search. Choosing K by it "
        "would be choosing on the test sets",
    )
    group.add_argument(
        "--positive",
        choices=("id", "ood"),
        help="class that FPR95 calls positive. ood is OpenOOD's convention, whose FPR95 is another "
        "number: never compare the two (default: the benchmark's; id in the CIDER paper)",
    )
    group.add_argument(
        "--bootstrap",
        nargs="?",
        type=options.positive_int,
        const=1000,
        default=0,
        metavar="N",
        help="95 %% intervals of all metrics from N resamples of the test images (N: 1000)",
    )
    group.add_argument(
        "--linear-probe",
        nargs="?",
        choices=("cached", "augmented"),
        const="cached",
        help="also ID accuracy of a linear classifier on the frozen encoder: on features that are "
        "extracted once, or anew from augmented images in each of its 100 epochs, as in the paper "
        "of SupCon (default where given: cached)",
    )
    group.add_argument(
        "--seed",
        type=options.whole_number,
        default=0,
        help="for generated OOD sets, subsets of large ones, --bootstrap, --linear-probe and plots (default: 0)",
    )


def _add_output_options(parser: OptionParser) -> None:
    group = parser.add_argument_group("output", role=Role.CALL)
    group.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="default: eval_<epoch>/ beside the checkpoint. Where that holds the figures of another evaluation (other "
        "options, another file), the new ones go to DIR_2, DIR_3, ...",
    )
    group.add_argument("--overwrite", action="store_true", help="replace the figures of another evaluation in DIR")
    group.add_argument("--no-plots", action="store_true", help="numbers only")
    group.add_argument(
        "--projection",
        choices=("tsne", "pca", "none"),
        default="tsne",
        help="plot of features in the plane; tsne takes up to a minute (default: tsne)",
    )
    group.add_argument(
        "--style",
        choices=("screen", "paper"),
        default="screen",
        help="of the figures. screen: PNG and PDF, numbers in the titles. paper: PDF, 3.3 inches wide, no numbers in "
        "the titles (default: screen)",
    )
    group.add_argument(
        "--projector",
        action="store_true",
        help="also export features for TensorBoard's embedding projector, to DIR/projector",
    )
    group.add_argument(
        "--cache-dir",
        type=Path,
        metavar="DIR",
        help="where extracted features are kept (default: features/ beside the checkpoint)",
    )
    group.add_argument("--no-cache", action="store_true", help="extract features anew and do not keep them")


class _ListScores(argparse.Action):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, nargs=0, default=argparse.SUPPRESS, **kwargs)

    def __call__(self, parser, namespace, values, option_string=None):
        from utils.evaluation.registry import listing  # loads PyTorch

        print(listing())
        parser.exit()


def _k_or_auto(text: str) -> int | str:
    return text if text == "auto" else options.positive_int(text)


def _refuse_official(parser: OptionParser) -> None:
    for flag in ("--model", "--head", "--feat_dim", "--embedding_dim", "--loss"):
        parser.refuse(flag, "the checkpoint file says it")
    parser.refuse("--subset", "sets of more than 10,000 images are always cut to a fixed subset of that size")
    parser.refuse("--multiplier", "the scores are not rescaled")
    parser.refuse("--out_as_pos", "it is --positive ood here")
    parser.refuse("--T", "it was ODIN's temperature, which is 1000 here as in its paper")
