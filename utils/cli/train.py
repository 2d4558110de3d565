"""Options that the train scripts share, how unset ones get the paper's values, and the name of a run."""

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from models.archs import CIFAR_BLOCKS, IMAGENET_ARCHS, SMALLEST_WIDTH
from utils.cli.command_line import command
from utils.cli.options import (
    add_device_options,
    add_id_options,
    fraction,
    int_list,
    non_negative_float,
    non_negative_int,
    positive_float,
    positive_int,
    whole_number,
)
from utils.cli.parser import OptionGroup, OptionParser, Role
from utils.data.id_records import id_set
from utils.files import REPOSITORY
from utils.training.schedule import WARMUPS
from utils.training.settings import SaveEvery


def fill_in(args: argparse.Namespace, settings: Mapping[str, Any]) -> None:
    """Give every option that was not named on the command line its value in `settings`."""
    for name, value in settings.items():
        if getattr(args, name) is None:
            setattr(args, name, value)


def complete(parser: OptionParser, args: argparse.Namespace, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the settings, which come back as they were used: with a warm-up that fits the epochs.

    One that nobody asked for is cut where it does not fit, and args.notes says so; one that was asked for is refused.
    """
    asked, asked_kind = args.warmup_epochs, args.warmup
    fill_in(args, settings)
    args.notes = []
    # The official ramp may be longer than the run, as in the official script for ImageNet-100.
    if args.warmup != "linear" or args.warmup_epochs < args.epochs:
        return dict(settings)
    short = min(max(1, args.epochs // 10), args.epochs - 1)
    if asked is not None or (asked_kind and not short):
        given = f"--warmup {asked_kind}" if asked is None else f"--warmup-epochs {asked}"
        do = f"--warmup-epochs {short} fits, and at most {args.epochs - 1}" if short else "--warmup none fits"
        parser.error(f"{given}: --epochs {args.epochs} would end within the warm-up; {do}")
    cut = {"warmup_epochs": short} if short else {"warmup": "none"}
    args.notes.append(
        f"the warm-up lasts {short or 'no'} epoch{'s' if short > 1 else ''}, "
        f"for the usual {args.warmup_epochs} do not fit --epochs {args.epochs}"
    )
    vars(args).update(cut)
    return {**settings, **cut}


def key_arguments(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments that make a run what it is, and must be the same on resume."""
    return _with_roles(args, Role.SETTING)


def recorded(args: argparse.Namespace) -> dict[str, Any]:
    """What the files of a run hold: its name, its command, and the arguments that are of more than one call."""
    return _with_roles(args, Role.SETTING, Role.MANNER, Role.PLACE) | {"name": args.name, "command": args.command}


def _with_roles(args: argparse.Namespace, *roles: Role) -> dict[str, Any]:
    return _plain({name: value for name, value in vars(args).items() if args.roles.get(name) in roles})


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as they look after a round through JSON; paths in the repository are relative to it."""
    return json.loads(json.dumps(values, default=_portable))


def _portable(value: Any) -> str:
    if not isinstance(value, Path):
        return str(value)
    place = value.absolute()
    return str(place.relative_to(REPOSITORY) if place.is_relative_to(REPOSITORY) else place)


def run_name(parser: OptionParser, args: argparse.Namespace, settings: Mapping[str, Any], method: str) -> str:
    """Name of a run's folder: method, encoder, what differs from the paper's settings, seed and trial; no date."""
    usual = _plain({name: option.default for name, option in parser.options().items()} | dict(settings))
    named = ("in_dataset", "loss", "model", "seed", "trial")
    changed = [
        f"{key.replace('_', '-')}-{','.join(map(str, value)) if isinstance(value, list) else value}"
        for key, value in sorted(key_arguments(args).items())
        if key not in named and value != usual.get(key)
    ]
    if args.init_from:
        changed.append(f"init-from-{args.init_from.parent.name}-{args.init_from.name.split('.')[0]}")
    name = "_".join([method, args.model, *changed, f"seed{args.seed}", f"trial{args.trial}"])
    return re.sub(r"[^\w.,-]+", "-", name)


def name_run(parser: OptionParser, args: argparse.Namespace, settings: Mapping[str, Any], method: str) -> None:
    """Set args.name where the command line gives none, args.command, and what is saved with the run."""
    usual = run_name(parser, args, settings, method)
    args.name = args.name or usual
    first = {"in_dataset": args.in_dataset, "seed": args.seed, "name": None if args.name == usual else args.name}
    args.command = command(parser, args, settings, first=first)


def downloads_weights(args: argparse.Namespace) -> bool:
    """Whether the network starts from torchvision's own ImageNet weights, and no file is there to start from."""
    return bool(args.pretrained and not args.weights and not args.init_from)


PAPER = "default: the paper's for the ID set"


def add_data_options(parser: OptionParser) -> None:
    """The ID set, and --limit-train."""
    add_id_options(parser).add_argument(
        "--limit-train",
        type=positive_int,
        metavar="N",
        help="train on N images only, the same number of each class",
    )


def _width(text: str) -> int:
    """argparse type: as many channels as every CPU can train."""
    value = int(text)
    if value < SMALLEST_WIDTH:
        raise argparse.ArgumentTypeError(
            f"{text} is less than {SMALLEST_WIDTH}, the narrowest network that trains on every CPU: below, oneDNN's "
            "kernels for CPUs without AVX-512 crash or give wrong gradients"
        )
    return value


def add_network_options(parser: OptionParser, models: Sequence[str] = tuple(CIFAR_BLOCKS)) -> OptionGroup:
    """--model, --width, --stem, --pretrained, --weights, --train-layers: the encoder. Returns the group."""
    group = parser.add_argument_group("network")
    group.add_argument("--model", choices=models, help=f"encoder ({PAPER})")
    group.add_argument(
        "--width",
        type=_width,
        metavar="N",
        help="channels of a ResNet's first stage: usually 64; 16 is sixteen times cheaper, what a laptop can train; "
        f"at least {SMALLEST_WIDTH}",
    )
    group.add_argument(
        "--stem",
        choices=("cifar", "imagenet"),
        help="cifar: 3x3, for images up to about 64 pixels. imagenet: torchvision's resnet34 or resnet50, for larger",
    )
    group.add_argument(
        "--pretrained",
        action=argparse.BooleanOptionalAction,
        help="start from torchvision's ImageNet weights (imagenet stem; default for ImageNet-100)",
    )
    group.add_argument(
        "--weights", type=Path, metavar="FILE", help="the same weights from a file, where there is no network"
    )
    group.add_argument(
        "--init-from",
        role=Role.MANNER,  # its content is what makes the run
        type=Path,
        metavar="FILE",
        help="start from the weights of a checkpoint with the same encoder, such as that of a finished run that is to "
        "train for longer: a new run, whose schedule begins anew. CIDER's prototypes then start at the class means",
    )
    group.add_argument(
        "--train-layers",
        choices=("layer4", "all"),
        help="what the imagenet stem trains: layer4, the last stage and what follows it, as CIDER's paper does on "
        "ImageNet-100; or all (default elsewhere)",
    )
    return group


def add_optimisation_options(parser: OptionParser) -> None:
    """Epochs, batch size, SGD and the learning-rate schedule; unset values are filled in from utils/cli/settings.py."""
    group = parser.add_argument_group("optimisation")
    group.add_argument("--epochs", type=positive_int, help=f"({PAPER})")
    group.add_argument(
        "-b",
        "--batch-size",
        type=positive_int,
        help=f"images per step over all GPUs ({PAPER}; for a folder 16 to 128, by its number of images)",
    )
    group.add_argument(
        "--learning_rate",
        type=positive_float,
        help=f"at the top of the schedule; scale it with the batch ({PAPER}; for a folder it follows the batch)",
    )
    group.add_argument(
        "--cosine",
        action=argparse.BooleanOptionalAction,
        help="cosine down to almost nothing; --no-cosine: steps at --lr_decay_epochs",
    )
    group.add_argument(
        "--lr_decay_epochs", type=int_list, metavar="E,E,..", help="with --no-cosine (default: 100,150,180)"
    )
    group.add_argument("--lr_decay_rate", type=positive_float, default=0.1, help="factor of a step (default: 0.1)")
    group.add_argument(
        "--warmup",
        choices=WARMUPS,
        help="linear: from 0.001 up over --warmup-epochs. reference: as in the official code, with a negative rate in "
        "the first epoch. none (default: the paper's)",
    )
    group.add_argument(
        "--warm", dest="warmup", action="store_const", const="linear", help="official spelling of --warmup linear"
    )
    group.add_argument(
        "--warmup-epochs", type=positive_int, metavar="N", help="10 in CIDER's paper; keep it well below --epochs"
    )
    group.add_argument("--momentum", type=fraction, help="of SGD with Nesterov's (default: 0.9)")
    group.add_argument("--weight-decay", "--wd", type=non_negative_float, help=f"({PAPER})")
    group.add_argument(
        "--seed", type=whole_number, help="of weights, order and augmentation (default: that of the official script)"
    )
    group.add_argument(
        "--trial", type=whole_number, default=0, help="a number in the run's name, for repetitions (default: 0)"
    )


def save_every(text: str) -> str:
    """argparse type: `5m` or a number of epochs."""
    try:
        SaveEvery.parse(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is neither minutes (5m) nor a number of epochs (2)") from None
    return text


def add_run_options(parser: OptionParser) -> None:
    """Where the run goes, what it shows, when it saves, how it resumes."""
    group = parser.add_argument_group("run", role=Role.CALL)
    group.add_argument(
        "--checkpoints",
        type=Path,
        default=REPOSITORY / "checkpoints",
        help="folder of all runs (default: checkpoints/)",
    )
    group.add_argument(
        "--name", help="of the run's folder (default: made of the arguments that differ from the paper's)"
    )
    group.add_argument(
        "--resume",
        default="auto",
        metavar="auto|none|FILE",
        help="auto: go on where this run was interrupted. none: begin anew. FILE: from that last.pt (default: auto)",
    )
    group.add_argument(
        "--save-every",
        type=save_every,
        default="5m",
        metavar="5m|N",
        help="save the state for --resume every so many minutes, or every N epochs (default: 5m)",
    )
    group.add_argument(
        "--save-epoch",
        type=positive_int,
        metavar="N",
        help="keep a checkpoint of every N-th epoch, and the last (default: 100)",
    )
    group.add_argument(
        "--eval-freq",
        type=non_negative_int,
        default=10,
        metavar="N",
        help="KNN accuracy every N epochs; 0 never (default: 10)",
    )
    group.add_argument(
        "-p", "--print-freq", type=positive_int, default=100, metavar="N", help="steps between log lines (default: 100)"
    )


def add_speed_options(parser: OptionParser) -> None:
    """The options of the device, and what else makes a training faster or slower."""
    group = add_device_options(parser)
    group.add_argument(
        "--compile",
        action="store_true",
        help="compile the network; on a GPU, after half a minute, each step is the replay of a CUDA graph",
    )
    group.add_argument(
        "--deterministic", action="store_true", help="bit-identical repetitions on a GPU too, at some cost in speed"
    )
    group.add_argument(
        "--sync-bn",
        action="store_true",
        help="with several GPUs (torchrun): batch norm's statistics over all images. Without it each process has "
        "its own, so that several are not one to the last digit; losses, prototypes and gradients are taken over all",
    )


def check_training(parser: OptionParser, args: argparse.Namespace) -> None:
    """Settings that do not fit together, found before anything slow starts."""
    if args.stem == "imagenet" and args.model not in IMAGENET_ARCHS:
        parser.error(f"--stem imagenet has resnet34 and resnet50, not {args.model}")
    if args.stem == "cifar" and (args.pretrained or args.weights):
        parser.error("ImageNet weights fit the imagenet stem only: add --stem imagenet --model resnet34")
    for flag, file in (("--weights", args.weights), ("--init-from", args.init_from)):
        if file and not file.is_file():
            parser.error(f"{flag} {file}: no such file")
    if args.weights and args.init_from:
        parser.error("--weights and --init-from are two starts; give one of them")
    record = id_set(args.in_dataset)
    if args.image_size and not record.resizable:
        parser.error(f"--image-size is for folder and ImageNet-100; {args.in_dataset} has its own size")
    if args.download and not record.downloadable:
        parser.error(f"--download fetches CIFAR-10 and CIFAR-100, not {args.in_dataset}")
    if record.own and not args.id_loc:
        parser.error("--in-dataset folder needs --id-loc PATH: a folder with one folder of images per class")
