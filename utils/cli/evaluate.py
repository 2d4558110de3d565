"""The command line of eval_cider.py, checked as far as that needs no file."""

import argparse

from utils.cli.config import ConfigParser
from utils.cli.options import (
    add_checkpoints_option,
    add_device_options,
    add_id_options,
    int_list,
    ood_set,
    place,
    positive_int,
    seed_number,
)
from utils.cli.parser import OptionParser, Role
from utils.cli.record import command, written
from utils.evaluation.benchmark import BENCHMARKS


def parse_arguments(description: str | None = None) -> argparse.Namespace:
    """The arguments; ends the script with status 2 where they do not fit together."""
    parser = ConfigParser(prog="eval_cider.py", description=description)
    _add_data_options(parser)
    _add_score_options(parser)
    _add_output_options(parser)
    device = add_device_options(parser)
    about = "images per forward pass (default: 512, on a CPU 16 a thread)"
    device.add("--batch-size", positive_int, about, also="-b", role=Role.SETTING)
    _refuse_official(parser)
    args = parser.parse_args()
    if args.list_scores:
        from utils.evaluation.registry import listing  # loads PyTorch

        print(listing())
        parser.exit()
    if (args.ckpt is None) == (args.name is None):
        parser.error("give the checkpoint by --name (and --epoch), or by --ckpt FILE")
    if args.ckpt is not None and args.epoch is not None:
        parser.error("--epoch chooses among the checkpoints of a --name; --ckpt is one file")
    if args.K_sweep is not None and (not args.K_sweep or min(args.K_sweep) < 1):
        parser.error("--K-sweep takes whole numbers of at least 1, separated by commas")
    args.command = command(args, parser.prog, first={"in_dataset": None})
    args.positive = (args.positive or BENCHMARKS[args.benchmark].positive).upper()
    # What metrics.json has of them.
    kept = {name: option for name, option in args.options.items() if name != "list_scores" and hasattr(args, name)}
    args.settings = {name: written(option, getattr(args, name)) for name, option in kept.items()}
    args.settings["command"] = args.command
    return args


def _add_data_options(parser: OptionParser) -> None:
    group = parser.group("checkpoint: --name or --ckpt", role=Role.CALL)
    group.add("--name", str, "folder of a run, in checkpoints/<ID set>/")
    group.add("--epoch", positive_int, "epoch of that run (default: the last that is there)")
    group.add("--ckpt", place, "a checkpoint file, wherever it is")
    add_checkpoints_option(group)
    add_id_options(parser, default=None)
    add = parser.group("out-of-distribution data").add
    add("--ood_loc", place, "folder that holds the OOD sets (default: below datasets/)", role=Role.PLACE)
    about = "names, or NAME=PATH for a folder of images (default: those in MCD's mix, and the benchmark's)"
    add("--ood-sets", ood_set, about, nargs="+")
    add(
        "--benchmark",
        tuple(BENCHMARKS),
        "whose OOD sets and rules: cider has the five sets of the CIDER paper and ID as the positive class, odin the "
        "five of ODIN and MCD; openood is OpenOOD v1.5 by its own lists, with near and far sets, K by validation "
        "images, and OOD as the positive class",
        default="cider",
    )
    about = "split.json of train_mcd.py: score only the images that it lists (default: all; its own for MCD)"
    add("--scored", place, about)


def _add_score_options(parser: OptionParser) -> None:
    add = parser.group("scores and metrics").add
    about = "one or several; `all` that the checkpoint can give; plots show the first (default: the method's own)"
    add("--score", str, about, nargs="+", metavar="NAME")
    add("--list-scores", bool, "print every score, what it needs, its paper; and end", role=Role.CALL)
    about = "neighbour whose distance counts for knn, 100 on CIFAR-10 in the paper; auto chooses it by Gaussian noise"
    add("--K", _k_or_auto, about, metavar="K|auto")
    about = "fit scores to N ID training images, drawn by class, and K in proportion: a small file for detect.py"
    add("--bank", positive_int, about)
    add("--K-sweep", int_list, "also a table and a plot of KNN over these K; to choose by it is to choose on test sets")
    about = "class that FPR95 calls positive; never compare one with the other (default: the benchmark's)"
    add("--positive", ("id", "ood"), about)
    about = "95 %% intervals of all metrics from N resamples of the test images (default where given: 1000)"
    add("--bootstrap", positive_int, about, nargs="?", const=1000, default=0)
    about = "also ID accuracy of a linear classifier on features, cached or of augmented images (default: cached)"
    add("--linear-probe", ("cached", "augmented"), about, nargs="?", const="cached")
    add("--seed", seed_number, "of generated and cut OOD sets, --bootstrap, --linear-probe and plots", default=0)


def _add_output_options(parser: OptionParser) -> None:
    add = parser.group("output", role=Role.CALL).add
    about = "folder, or PATH_2, ... where it holds another evaluation (default: eval_<epoch>/ beside the checkpoint)"
    add("--out", place, about)
    add("--overwrite", bool, "replace the figures of another evaluation there")
    add("--no-plots", bool, "numbers only")
    about = "plot of features in the plane; tsne takes up to a minute"
    add("--projection", ("tsne", "pca", "none"), about, default="tsne")
    about = "screen: PNG and PDF, numbers in the titles. paper: PDF, 3.3 inches wide, no numbers in the titles"
    add("--style", ("screen", "paper"), about, default="screen")
    add("--projector", bool, "also export features for TensorBoard's embedding projector")
    add("--cache-dir", place, "where features are kept (default: features/ beside the checkpoint)")
    add("--no-cache", bool, "extract features anew and do not keep them")


def _k_or_auto(text: str) -> int | str:
    return text if text == "auto" else positive_int(text)


def _refuse_official(parser: OptionParser) -> None:
    for flag in ("--model", "--head", "--feat_dim", "--embedding_dim", "--loss"):
        parser.refuse(flag, "the checkpoint file says it")
    parser.refuse("--subset", "sets of more than 10,000 images are always cut to a fixed subset of that size")
    parser.refuse("--multiplier", "the scores are not rescaled")
    parser.refuse("--out_as_pos", "it is --positive ood here")
    parser.refuse("--T", "it was ODIN's temperature, which is 1000 here as in its paper")
