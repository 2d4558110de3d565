"""The command line of train_mcd.py, and what it means for each of the two stages."""

import argparse
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

from models.archs import ARCHS
from utils.cli import train
from utils.cli.options import non_negative_float, ood_set, place, positive_float, positive_int, whole_number
from utils.cli.parser import OptionParser, Role
from utils.cli.record import command, run_name
from utils.cli.settings import usual_settings
from utils.data.splits import MODES, SMALLEST_CHOICE

STAGES = ("both", "pretrain", "finetune")
BEFORE = "pretrain_"  # begins the names of options that are of the pre-training
# How the learning rate of the pre-training falls; --cosine and so on are about the fine-tuning.
SCHEDULE = {"cosine": False, "lr_decay_epochs": None, "lr_decay_rate": 0.1, "warmup": "none", "warmup_epochs": 1}


def make_parser(description: str | None = None) -> OptionParser:
    """All options; `parser.of_one_stage` names those that the two stages do not share."""
    parser = train.train_parser("train_mcd", description)
    before = parser.options().keys()
    _add_stage_options(parser)
    parser.of_one_stage = parser.options().keys() - before
    train.add_training_options(parser, ARCHS)
    parser.reread = partial(_reread, parser.options())
    return parser


def parse_arguments(
    description: str | None = None, command_line: Sequence[str] | None = None
) -> tuple[argparse.Namespace, argparse.Namespace]:
    """The command line, completed by the paper's settings and checked as far as that needs no data.

    Returns:
        the arguments of the fine-tuning, among them --stage; those of the pre-training.
    """
    parser = make_parser(description)
    args = parser.parse_args(command_line)
    settings = usual_settings("mcd", args.in_dataset, args.model)
    own = [name for name in args.options if name.startswith(BEFORE)]
    if args.start:  # a pre-training that this command does not know
        if named := [name for name in own if getattr(args, name) is not None]:
            parser.error(f"--{named[0].replace('_', '-')} has no function with --from, which is pre-trained")
        settings |= dict.fromkeys(own)
    settings = train.complete(parser, args, settings)
    _check(parser, args)
    first = _of_pretraining(parser, args, settings, own)
    # The mode stands in every name, and the command has it where it is not the default.
    usual = run_name(args, {**settings, "unlabelled": args.unlabelled}, f"mcd-{args.unlabelled}")
    args.name = args.name or usual
    named_by = {"in_dataset": args.in_dataset, "name": None if args.name == usual else args.name}
    args.command = command(args, parser.prog, settings, first=named_by)
    return args, first


def _of_pretraining(
    parser: OptionParser, args: argparse.Namespace, settings: Mapping[str, Any], own: Sequence[str]
) -> argparse.Namespace:
    """The arguments of the first stage, from which alone its run folder has its name: fine-tunings share it."""
    epochs = args.pretrain_epochs or 0
    # The paper has 300 epochs, and a lower rate after 150 and 225.
    fixed = {**SCHEDULE, "lr_decay_epochs": (epochs // 2, 3 * epochs // 4) if epochs else ()}

    def of_first(values: Mapping[str, Any]) -> dict[str, Any]:
        """With those of the pre-training under the names that a training knows them by."""
        return {**values, **fixed, **{name.removeprefix(BEFORE): values[name] for name in own}}

    first = argparse.Namespace(**of_first(vars(args)))
    shared = {name: option for name, option in args.options.items() if name not in parser.of_one_stage}
    first.options = {**shared, "stage": args.options["stage"]}
    first.stage = "pretrain"
    # --resume none begins the last stage anew, not one that other runs may rest on.
    first.resume = args.resume if args.stage == "pretrain" else "auto"
    first.name = run_name(first, of_first(settings), "mcd-pretrain")
    of_second = {*SCHEDULE, *(name.removeprefix(BEFORE) for name in own)}
    known = {*own, *first.options} - of_second
    typed = {name: option for name, option in args.options.items() if name in known}
    asked = argparse.Namespace(**{**vars(args), "stage": "pretrain", "options": typed})
    first.command = command(asked, parser.prog, settings, first={"in_dataset": args.in_dataset})
    return first


def _reread(options: Collection[str], values: dict[str, Any]) -> dict[str, Any]:
    """The args.yaml of a pre-training, which has its settings under the names of both stages, as options."""
    if values.get("stage") != "pretrain":
        return values
    kept = {name: value for name, value in values.items() if name not in SCHEDULE}
    return {BEFORE + name if BEFORE + name in options else name: value for name, value in kept.items()}


def _add_stage_options(parser: OptionParser) -> None:
    """What is of one stage alone; names that begin with `pretrain_` are of the pre-training."""
    add = parser.group("unlabelled images, for the fine-tuning").add
    about = "transductive: the very images that are scored (the paper). inductive: others; the last epoch is taken"
    add("--unlabelled", MODES, about, default=MODES[0])
    add(
        "--ood",
        ood_set,
        "OOD set in the mix beside ID test, or several; a name, or NAME=PATH for a folder of images. The paper has a "
        "fine-tuning for each (default: digits-6-9 for digits, TinyImageNet_resize for CIFAR, dtd for ImageNet-100)",
        nargs="+",
    )
    add("--ood_loc", place, "folder that holds the OOD sets", role=Role.PLACE)
    about = "images of each set that choose the epoch and are else unused (default: 1000, or a tenth of a small set)"
    add("--choice", positive_int, about)
    add("--split-seed", whole_number, "deals out the images, so that runs of all --seed score the same ones", default=0)
    add("--margin", non_negative_float, "m, difference of entropies that leaves the heads alone", default=1.2)
    add = parser.group("stages; options not named --pretrain-... are the fine-tuning's, or both's").add
    about = "both: pre-training, where it is not finished already, then fine-tuning"
    add("--stage", STAGES, about, default="both", role=Role.MANNER)
    about = "with --stage finetune: checkpoint of a pre-training (default: that of these arguments)"
    add("--from", place, about, dest="start")
    add("--pretrain-epochs", positive_int)
    add("--pretrain-batch-size", positive_int)
    add("--pretrain-learning_rate", positive_float, "a tenth of it after half of the epochs, a hundredth after 3/4")
    add("--pretrain-weight-decay", non_negative_float)


def _check(parser: OptionParser, args: argparse.Namespace) -> None:
    """Settings that do not fit together, of the two stages and of the mix."""
    if args.start and args.stage != "finetune":
        parser.error("--from begins behind the pre-training: add --stage finetune")
    if args.name and args.stage == "pretrain":
        parser.error("--name is that of the fine-tuning; the folder of a pre-training is named by its arguments")
    if args.ood is None and args.stage != "pretrain":
        parser.error("--in-dataset folder needs --ood SET: an OOD set for the unlabelled mix, as in --ood other=PATH")
    if args.choice is not None and args.choice < SMALLEST_CHOICE:
        parser.error(f"--choice {args.choice} images are too few to choose an epoch by; at least {SMALLEST_CHOICE}")
    if args.train_layers == "layer4":
        parser.error("--train-layers layer4 has no function here: MCD trains the whole encoder")
