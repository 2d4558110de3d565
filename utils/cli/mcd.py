"""The command line of train_mcd.py, and what it means for each of the two stages."""

import argparse
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from models.archs import ARCHS
from utils.cli import options
from utils.cli import train as train_options
from utils.cli.command_line import command
from utils.cli.parser import Role
from utils.cli.settings import mcd_settings
from utils.data.ood_table import full_ood_name
from utils.data.splits import MODES, SMALLEST_CHOICE

STAGES = ("both", "pretrain", "finetune")
# Of the pre-training, too, where they are called --pretrain-epochs and so on.
OF_PRETRAINING = ("epochs", "batch_size", "learning_rate", "weight_decay")
# How the learning rate of the pre-training falls; --cosine and so on are about the fine-tuning.
SCHEDULE = {"cosine": False, "lr_decay_epochs": None, "lr_decay_rate": 0.1, "warmup": "none", "warmup_epochs": 1}


def parse_arguments(
    description: str | None = None, command_line: Sequence[str] | None = None
) -> tuple[argparse.Namespace, argparse.Namespace]:
    """The command line, completed by the paper's settings and checked as far as that needs no data.

    Returns:
        the arguments of the fine-tuning, among them --stage; those of the pre-training.
    """
    parser = options.OptionParser(prog="train_mcd.py", description=description)
    train_options.add_data_options(parser)
    before = parser.options().keys()
    _add_mix_options(parser)
    _add_stage_options(parser)
    # What only the fine-tuning has; the rest, such as the network, the seed and the device, is that of both stages.
    finetuning = {name for name in parser.options().keys() - before if not name.startswith("pretrain_")}
    train_options.add_network_options(parser, ARCHS)
    train_options.add_optimisation_options(parser)
    train_options.add_run_options(parser)
    train_options.add_speed_options(parser)
    args = parser.parse_args(command_line)
    settings = _settings(args)
    named = [name for name in OF_PRETRAINING if getattr(args, f"pretrain_{name}") is not None]
    settings = train_options.complete(parser, args, settings)
    _check(parser, args, named)
    train_options.check_training(parser, args)
    first = _of_pretraining(parser, args, settings, finetuning)
    # The mode stands in every name, and the command has it where it is not the default.
    usual = train_options.run_name(parser, args, {**settings, "unlabelled": args.unlabelled}, f"mcd-{args.unlabelled}")
    args.name = args.name or usual
    named_by = {"in_dataset": args.in_dataset, "name": None if args.name == usual else args.name}
    args.command = command(parser, args, settings, first=named_by)
    return args, first


def _of_pretraining(
    parser: options.OptionParser, args: argparse.Namespace, settings: Mapping[str, Any], finetuning: Collection[str]
) -> argparse.Namespace:
    """The arguments of the first stage, from which alone its run folder has its name: fine-tunings share it."""
    fixed = {**SCHEDULE, "lr_decay_epochs": _decay_epochs(args.pretrain_epochs)}
    own = {name: getattr(args, f"pretrain_{name}") for name in OF_PRETRAINING}
    shared = {name: getattr(args, name) for name in parser.options() if name not in finetuning}
    first = argparse.Namespace(
        **{name: value for name, value in shared.items() if not name.startswith("pretrain_")} | own | fixed
    )
    # --resume none begins the last stage anew, not one that other runs may rest on.
    first.roles = args.roles
    first.resume = args.resume if args.stage == "pretrain" else "auto"
    usual = {**settings, **fixed, **{name: settings[f"pretrain_{name}"] for name in OF_PRETRAINING}}
    first.name = train_options.run_name(parser, first, usual, "mcd-pretrain")
    asked = argparse.Namespace(**{**vars(args), "stage": "pretrain"})
    of_finetuning = {*OF_PRETRAINING, *finetuning, *SCHEDULE} - {"stage"}
    first.command = command(parser, asked, settings, first={"in_dataset": args.in_dataset}, without=of_finetuning)
    return first


def _decay_epochs(epochs: int | None) -> tuple[int, ...]:
    """Epochs after which the rate of the pre-training falls: 150 and 225 of the paper's 300."""
    return () if epochs is None else (epochs // 2, 3 * epochs // 4)


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    settings = {"choice": None, "ood": None, **mcd_settings(args.in_dataset, args.model)}
    if args.start:  # a pre-training that this command does not know
        settings |= {f"pretrain_{name}": None for name in OF_PRETRAINING}
    return settings


def _add_mix_options(parser: options.OptionParser) -> None:
    group = parser.add_argument_group("unlabelled images, for the fine-tuning")
    group.add_argument(
        "--unlabelled",
        choices=MODES,
        default=MODES[0],
        help="transductive: the very images that are scored; others with OOD labels choose the epoch (the paper). "
        "inductive: other images than are scored; the last epoch is taken (default: transductive)",
    )
    group.add_argument(
        "--ood",
        type=full_ood_name,
        nargs="+",
        metavar="SET",
        help="OOD set in the mix beside ID test, or several; a name, or NAME=PATH for a folder of images. The paper "
        "has a fine-tuning for each (default: digits-6-9 for digits, TinyImageNet_resize for CIFAR, dtd for "
        "ImageNet-100)",
    )
    group.add_argument("--ood_loc", role=Role.PLACE, type=Path, metavar="PATH", help="folder that holds the OOD sets")
    group.add_argument(
        "--choice",
        type=options.positive_int,
        metavar="N",
        help="images of each set that choose the epoch and are neither in the mix nor scored, at least "
        f"{SMALLEST_CHOICE} (default: 1000, or a tenth of a set with fewer than 10,000; 50 for digits)",
    )
    group.add_argument(
        "--split-seed",
        type=options.whole_number,
        default=0,
        metavar="S",
        help="deals out the images, whatever --seed is, so that runs of several seeds score the same ones (default: 0)",
    )
    group.add_argument(
        "--margin",
        type=options.non_negative_float,
        default=1.2,
        help="m, the difference of entropies from which on the heads are left alone (default: 1.2, as in the paper)",
    )


def _add_stage_options(parser: options.OptionParser) -> None:
    group = parser.add_argument_group("stages; options not named --pretrain-... are the fine-tuning's, or both's")
    group.add_argument(
        "--stage",
        role=Role.MANNER,
        choices=STAGES,
        default="both",
        help="both: pre-training, where it is not finished already, then fine-tuning (default: both)",
    )
    group.add_argument(
        "--from",
        dest="start",
        type=Path,
        metavar="FILE",
        help="with --stage finetune: checkpoint of a pre-training (default: that of these arguments)",
    )
    group.add_argument("--pretrain-epochs", type=options.positive_int, metavar="N", help=f"({train_options.PAPER})")
    group.add_argument("--pretrain-batch-size", type=options.positive_int, metavar="N", help=f"({train_options.PAPER})")
    group.add_argument(
        "--pretrain-learning_rate",
        type=options.positive_float,
        metavar="LR",
        help=f"a tenth after half of the epochs, a hundredth after three quarters ({train_options.PAPER})",
    )
    group.add_argument(
        "--pretrain-weight-decay", type=options.non_negative_float, metavar="W", help=f"({train_options.PAPER})"
    )


def _check(parser: options.OptionParser, args: argparse.Namespace, named: Sequence[str]) -> None:
    """Settings that do not fit together, of the two stages and of the mix."""
    if args.start and args.stage != "finetune":
        parser.error("--from begins behind the pre-training: add --stage finetune")
    if args.start and named:
        parser.error(f"--pretrain-{named[0].replace('_', '-')} has no function with --from, which is pre-trained")
    if args.name and args.stage == "pretrain":
        parser.error("--name is that of the fine-tuning; the folder of a pre-training is named by its arguments")
    if args.ood is None and args.stage != "pretrain":
        parser.error("--in-dataset folder needs --ood SET: an OOD set for the unlabelled mix, as in --ood other=PATH")
    if args.choice is not None and args.choice < SMALLEST_CHOICE:
        parser.error(f"--choice {args.choice} images are too few to choose an epoch by; at least {SMALLEST_CHOICE}")
    if args.train_layers == "layer4":
        parser.error("--train-layers layer4 has no function here: MCD trains the whole encoder")
