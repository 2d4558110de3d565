"""Options that the train scripts share, and how unset ones get the paper's values."""

import argparse
from argparse import BooleanOptionalAction
from collections.abc import Callable, Mapping
from typing import Any

from models.archs import CIFAR_BLOCKS, IMAGENET_ARCHS, SMALLEST_WIDTH
from utils.cli.config import ConfigParser
from utils.cli.options import (
    Number,
    add_checkpoints_option,
    add_device_options,
    add_id_options,
    fraction,
    int_list,
    non_negative_float,
    non_negative_int,
    place,
    positive_float,
    positive_int,
    whole_number,
)
from utils.cli.parser import Group, OptionParser, Role
from utils.data.id_records import id_set
from utils.training.schedule import WARMUPS
from utils.training.settings import SaveEvery

PAPERS = "what is not given is the paper's for the ID set"
WIDTH = Number(
    int,
    f"at least {SMALLEST_WIDTH}, the narrowest network that trains on every CPU: below, oneDNN's kernels for CPUs "
    "without AVX-512 crash or give wrong gradients",
    lambda width: width >= SMALLEST_WIDTH,
)


def fill_in(args: argparse.Namespace, settings: Mapping[str, Any]) -> None:
    """Give every option that was not named on the command line its value in `settings`."""
    for name, value in settings.items():
        if getattr(args, name) is None:
            setattr(args, name, value)


def complete(parser: OptionParser, args: argparse.Namespace, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in and check the settings, which come back as they are usual: with a warm-up that fits the epochs.

    One that nobody asked for is cut where it does not fit, and args.notes says so; one that was asked for is refused.
    """
    asked, asked_kind = args.warmup_epochs, args.warmup
    fill_in(args, settings)
    _check_training(parser, args)
    args.notes = []
    longest = args.epochs - 1
    # The official ramp may be longer than the run, as in the official script for ImageNet-100.
    if args.warmup != "linear" or max(args.warmup_epochs, settings["warmup_epochs"]) <= longest:
        return dict(settings)
    short = min(max(1, args.epochs // 10), longest)
    if args.warmup_epochs > longest and (asked or (asked_kind and not short)):
        given = f"--warmup-epochs {asked}" if asked else f"--warmup {asked_kind}"
        do = f"--warmup-epochs {short} fits, and at most {longest}" if short else "--warmup none fits"
        parser.error(f"{given}: --epochs {args.epochs} would end within the warm-up; {do}")
    cut = {"warmup_epochs": short} if short else {"warmup": "none"}
    if not asked:
        args.notes.append(
            f"the warm-up lasts {short or 'no'} epoch{'s' if short > 1 else ''}, "
            f"for the usual {args.warmup_epochs} do not fit --epochs {args.epochs}"
        )
        vars(args).update(cut)
    return {**settings, **cut}


def downloads_weights(args: argparse.Namespace) -> bool:
    """Whether the network starts from torchvision's own ImageNet weights, and no file is there to start from."""
    return bool(args.pretrained and not args.weights and not args.init_from)


def train_parser(script: str, description: str | None) -> ConfigParser:
    """The parser of a train script, with --config and the ID set."""
    parser = ConfigParser(prog=f"{script}.py", description=description)
    data = add_id_options(parser)
    data.add("--limit-train", positive_int, "train on N images only, the same number of each class")
    return parser


def add_training_options(parser: OptionParser, models: tuple[str, ...] = tuple(CIFAR_BLOCKS)) -> Group:
    """What all methods have; returns the group of the network."""
    network = parser.group("network", PAPERS)
    _add_network_options(network.add, models)
    _add_optimisation_options(parser.group("optimisation", PAPERS).add)
    _add_run_options(parser.group("run", role=Role.CALL))
    speed = add_device_options(parser)
    speed.add("--compile", bool, "on a GPU, after half a minute, each step is the replay of a CUDA graph")
    speed.add("--deterministic", bool, "bit-identical repetitions on a GPU too, at some cost in speed")
    speed.add(
        "--sync-bn",
        bool,
        "with several GPUs (torchrun): batch norm's statistics over all images. Without it each process has its own, "
        "so that several are not one to the last digit; losses, prototypes and gradients are taken over all",
    )
    return network


def _add_network_options(add: Callable[..., argparse.Action], models: tuple[str, ...]) -> None:
    add("--model", models, "encoder")
    add("--width", WIDTH, "channels of a ResNet's first stage, usually 64; 16 is 16 times cheaper, fit for a laptop")
    about = "cifar: 3x3, for images up to about 64 pixels. imagenet: torchvision's resnet34 or resnet50, for larger"
    add("--stem", ("cifar", "imagenet"), about)
    add("--pretrained", BooleanOptionalAction, "start from torchvision's ImageNet weights, with the imagenet stem")
    add("--weights", place, "the same weights from a file, where there is no network")
    # The content of that file is what makes the run.
    about = "checkpoint whose weights a new run starts from, such as a finished one that is to train for longer"
    add("--init-from", place, about, role=Role.MANNER)
    add("--train-layers", ("layer4", "all"), "of the imagenet stem; CIDER's paper: layer4 and what follows it")


def _add_optimisation_options(add: Callable[..., argparse.Action]) -> None:
    add("--epochs", positive_int)
    add("--batch-size", positive_int, "images per step over all GPUs; a folder's follows from its size", also="-b")
    add("--learning_rate", positive_float, "at the top of the schedule; scale it with the batch, as a folder's is")
    add("--cosine", BooleanOptionalAction, "cosine down to almost nothing; --no-cosine: steps at --lr_decay_epochs")
    add("--lr_decay_epochs", int_list, "with --no-cosine: 100,150,180 in CIDER's code")
    add("--lr_decay_rate", positive_float, "factor of a step", default=0.1)
    about = "linear: from 0.001 up. reference: as in the official code, with a negative rate in the first epoch"
    add("--warmup", WARMUPS, about)
    add("--warm", argparse._StoreConstAction, "official spelling of --warmup linear", dest="warmup", const="linear")
    add("--warmup-epochs", positive_int, "10 in CIDER's paper; keep it well below --epochs")
    add("--momentum", fraction, "of SGD with Nesterov's: 0.9")
    add("--weight-decay", non_negative_float, also="--wd")
    add("--seed", whole_number, "of weights, order and augmentation")
    add("--trial", whole_number, "a number in the run's name, for repetitions", default=0)


def save_every(text: str) -> SaveEvery:
    """argparse type: `5m` is every five minutes, `0.5m` every half, `2` after every second epoch."""
    try:
        if text.endswith("m"):
            return SaveEvery(minutes=positive_float(text[:-1]))
        return SaveEvery(epochs=positive_int(text))
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text} is neither minutes (5m) nor a number of epochs (2)") from None


def _add_run_options(group: Group) -> None:
    add_checkpoints_option(group)
    add = group.add
    add("--name", str, "of the run's folder (default: made of the arguments that differ from the paper's)")
    about = "auto: go on where this run was interrupted. none: begin anew. FILE: from that last.pt"
    add("--resume", str, about, default="auto", metavar="auto|none|FILE")
    add("--save-every", save_every, "minutes or epochs between states for --resume", default="5m", metavar="5m|N")
    add("--save-epoch", positive_int, "keep a checkpoint of every N-th epoch, and the last")
    add("--eval-freq", non_negative_int, "KNN accuracy, and the AUROC of noise, every N epochs; 0 never", default=10)
    add("--print-freq", positive_int, "steps between log lines", default=100, also="-p")


def _check_training(parser: OptionParser, args: argparse.Namespace) -> None:
    """Settings that do not fit together, found before anything slow starts."""
    if args.stem == "imagenet" and args.model not in IMAGENET_ARCHS:
        parser.error(f"--stem imagenet has resnet34 and resnet50, not {args.model}")
    if args.stem == "cifar" and (args.pretrained or args.weights):
        parser.error("ImageNet weights fit the imagenet stem only: add --stem imagenet --model resnet34")
    for flag, file in (("--weights", args.weights), ("--init-from", args.init_from)):
        if file and not file.is_file():
            parser.error(f"{flag} {file}: no such file")
    if args.name and ("/" in args.name or args.name in (".", "..")):
        parser.error(f"--name {args.name} is no name of a folder; --checkpoints says where it is")
    if args.weights and args.init_from:
        parser.error("--weights and --init-from are two starts; give one of them")
    record = id_set(args.in_dataset)
    if args.image_size and not record.resizable:
        parser.error(f"--image-size is for folder and ImageNet-100; {args.in_dataset} has its own size")
    if args.download and not record.downloadable:
        parser.error(f"--download fetches CIFAR-10 and CIFAR-100, not {args.in_dataset}")
    if record.own and not args.id_loc:
        parser.error("--in-dataset folder needs --id-loc PATH: a folder with one folder of images per class")
