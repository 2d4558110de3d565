"""Train MCD, maximum classifier discrepancy (Yu and Aizawa, ICCV 2019); this is not Monte-Carlo dropout.

    python train_mcd.py                                    digits, two minutes on a laptop, nothing to download
    python train_mcd.py --in-dataset CIFAR-10 --ood LSUN --amp bf16 --channels-last     the paper's run on one OOD set
    python train_mcd.py --unlabelled inductive             the unlabelled images are not those that are scored
    python train_mcd.py --in-dataset CIFAR-10 --stage pretrain      then --stage finetune, once for each --ood

Pre-training gives two linear heads on one encoder the labels of ID train. Fine-tuning drives the heads apart on a mix
of unlabelled ID test and OOD images, and keeps them together on ID train; where they disagree, an image is OOD. Each
stage has a run folder in checkpoints/<ID set>/ and goes on where it was interrupted. The paper's protocol is
transductive: the unlabelled images are the very ones that are scored. Its numbers are marked so in every table.
"""

from utils.cli.mcd import parse_arguments
from utils.cli.start import start

if __name__ == "__main__":
    start(parse_arguments, __doc__)

import argparse
import hashlib
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.mcd import MCDNet
from utils.checkpoint import load_checkpoint
from utils.cli.device import choose_device
from utils.cli.run import load_data, open_run, run_path, settle_batches
from utils.cli.train import downloads_weights
from utils.data import splits
from utils.data.augment import PaddedCrop, Plain
from utils.data.batches import Batch
from utils.data.id_sets import IDData
from utils.data.unlabelled import Mix, load_mix
from utils.errors import UserError, note, run_script
from utils.losses import discrepancy_loss
from utils.training.distributed import from_main, gather_rows, is_main, processes
from utils.training.mix_monitor import MixMonitor
from utils.training.recipe import Losses, Recipe, Step
from utils.training.run_folder import RunFolder
from utils.training.start import start_network

FACTS = ("start_weights", "split_lists")  # hashes in the saved state, which a resumed run must find again
STEPS = 2  # optimisation steps a batch, over which the log takes its means


def build_model(args: argparse.Namespace, num_classes: int) -> MCDNet:
    """The network as pre-training begins with it."""
    make = partial(MCDNet, args.model, num_classes, args.stem, downloads_weights(args), args.width)
    return start_network(make, weights=args.weights, init_from=args.init_from)


def pretraining_step(network: nn.Module, batch: Batch) -> Losses:
    """One step of pre-training: cross-entropy of both heads."""
    return {"loss": _cross_entropy(network(batch.images), batch)}


def step_a(network: nn.Module, batch: Batch) -> Losses:
    """Step A of fine-tuning as the author codes it: cross-entropy of both heads, head 2 not moving the encoder."""
    loss = _cross_entropy(network(batch.images, None, True), batch)
    none = torch.zeros_like(loss)
    return {"loss": loss, "loss/a": STEPS * loss, "loss/b": none, "loss/discrepancy": none}


def step_b(margin: float) -> Step:
    """Step B: cross-entropy of both heads without that restriction, and the discrepancy on unlabelled images."""

    def step(network: nn.Module, batch: Batch) -> Losses:
        *labelled, first, second = network(batch.images, batch.unlabelled)
        cross_entropy = _cross_entropy(labelled, batch)
        logits = (gather_rows(each, batch.unlabelled_size) for each in (first, second))
        discrepancy = discrepancy_loss(*logits, margin)
        return {
            "loss": cross_entropy + discrepancy,
            "loss/a": torch.zeros_like(cross_entropy),
            "loss/b": STEPS * cross_entropy,
            "loss/discrepancy": STEPS * discrepancy,
        }

    return step


def _cross_entropy(heads: Sequence[Tensor], batch: Batch) -> Tensor:
    """Sum of the cross-entropies of the heads, over the labelled images of all processes."""
    labels = gather_rows(batch.labels, batch.size)
    return sum(nn.functional.cross_entropy(gather_rows(head, batch.size), labels) for head in heads)


def pretraining_recipe(args: argparse.Namespace, data: IDData) -> Recipe:
    """Both heads on ID train."""
    return Recipe(
        model=build_model(args, len(data.class_names)),
        steps=(pretraining_step,),
        forward="passes",
        augmentation=PaddedCrop(data.size, hflip=data.hflip, mean=data.mean, std=data.std),
    )


def start_model(args: argparse.Namespace, path: Path, class_names: tuple[str, ...]) -> MCDNet:
    """The pre-trained network that fine-tuning begins with.

    Raises:
        UserError: there is none, or it is of another kind than this run asks for.
    """
    if not path.exists() and not args.start:
        raise UserError(
            f"no finished pre-training.\n  looked for : {path}\n"
            "  get it by  : the same command with --stage both, or with --stage pretrain"
        )
    found = load_checkpoint(path)
    if found.method.name != "mcd-pretrain":
        raise UserError(
            f"{path} is not a checkpoint of train_mcd.py's pre-training (it says {found.method.name}); what a network "
            "has seen before fine-tuning must be known"
        )
    config = found.model.config
    there = {"arch": config["arch"], "stem": config["stem"], "width": config["width"], "classes": found.class_names}
    wanted = {"arch": args.model, "stem": args.stem, "width": args.width, "classes": class_names}
    if there != wanted:
        raise UserError(f"{path} is another network than this run's\n  it is      : {there}\n  wanted     : {wanted}")
    return found.model


def facts(mix: Mix, model: MCDNet) -> dict[str, Any]:
    """What makes a fine-tuning what it is beside its arguments: the unlabelled images and the weights at its start."""
    weights = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        weights.update(name.encode() + value.numpy().tobytes())
    lists = json.dumps(splits.as_plain(mix.split), sort_keys=True)
    return dict(zip(FACTS, (weights.hexdigest(), hashlib.sha256(lists.encode()).hexdigest()), strict=True))


def finetuning_recipe(args: argparse.Namespace, data: IDData, model: MCDNet, mix: Mix) -> Recipe:
    """The heads apart on the unlabelled mix; in the transductive mode the epoch that the labels choose is kept."""
    monitor = MixMonitor(model, mix, mean=data.mean, std=data.std, workers=args.workers, hidden=FACTS)
    return Recipe(
        model=model,
        steps=(step_a, step_b(args.margin)),
        forward="passes",
        augmentation=Plain(data.mean, data.std),
        unlabelled=mix.unlabelled,
        others={} if monitor.best is None else {"best": monitor.best},
        monitor=monitor,
        nesterov=False,
    )


def announce(mix: Mix, batch_size: int) -> None:
    """Say which images are in the mix, and what the mode means."""
    sets = {f"{mix.split.id_name} test": mix.split.id, **mix.split.ood}
    counts = ", ".join(f"{len(part.unlabelled):,} of {name}" for name, part in sets.items())
    scored = "the very images that are scored" if mix.split.mode == "transductive" else "none of which is scored"
    print(f"Unlabelled mix, {mix.split.mode}: {counts}; {scored}")
    for text in mix.notes:
        note(text)
    if len(mix.unlabelled) < batch_size:
        note(f"the unlabelled mix has {len(mix.unlabelled):,} images, fewer than a batch: each batch has them all")


def main() -> None:
    """Pre-train, or find that done; then fine-tune."""
    args, first = parse_arguments(__doc__)
    device = choose_device(args)
    with processes(device, deterministic=args.deterministic) as device:
        data = load_data(args)
        if args.stage != "pretrain":  # what is missing is said before hours of pre-training
            mix = load_mix(data, args.ood, args.ood_loc, mode=args.unlabelled, choice=args.choice, seed=args.split_seed)
        if args.stage != "finetune":
            settle_batches(first, "mcd-pretrain", data)
            run = open_run(first, data, "mcd-pretrain", device)
            if not run.finished:
                run.train(pretraining_recipe(first, data))
            if args.stage == "pretrain" or not run.finished:
                run.say_what_next()
            run.folder.close()  # other fine-tunings may look at it
            from_main(lambda: None)  # all wait until the checkpoint is there
        if args.stage == "pretrain":
            return
        settle_batches(args, "mcd", data)
        start = args.start or RunFolder(run_path(first)).checkpoint(first.epochs)
        model = start_model(args, start, data.class_names)
        run = open_run(args, data, "mcd", device, facts(mix, model))
        if not run.finished:
            if is_main():
                with run.folder.disk_errors():
                    splits.save_split(run.folder.path / "split.json", mix.split)
                announce(mix, args.batch_size)
            run.train(finetuning_recipe(args, data, model, mix))
        run.say_what_next()


if __name__ == "__main__":
    run_script(main)
