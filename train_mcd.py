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

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.encoders import ARCHS
from models.mcd import MCDNet
from models.resnet import load_torchvision_weights
from utils.checkpoint import load_checkpoint
from utils.cli import mcd as mcd_options
from utils.data import splits
from utils.data.augment import PaddedCrop, Plain
from utils.data.batches import Batch
from utils.data.unlabelled import Mix, PairedBatch, PairedBatches, load_mix
from utils.errors import UserError, run_script
from utils.evaluation.features import extract
from utils.evaluation.metrics import ood_metrics
from utils.evaluation.scores import discrepancy_score
from utils.losses import discrepancy_loss
from utils.training import distributed
from utils.training.best_weights import BestWeights
from utils.training.loop import Losses, Method
from utils.training.run import TrainRun, load_data, processes, run_folder, settle_batches

FACTS = ("start_weights", "split_lists")  # hashes in the saved state, which a resumed run must find again
STEPS = 2  # optimisation steps a batch, over which the log takes its means


def build_model(args: argparse.Namespace, num_classes: int) -> MCDNet:
    """The network as pre-training begins with it."""
    try:
        model = MCDNet(args.model, num_classes, args.stem, args.pretrained and not args.weights, args.width)
        if args.weights:
            load_torchvision_weights(model.encoder, args.weights)
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error
    return model


class Passes(nn.Module):
    """The forward passes of a step as one module, which is what DistributedDataParallel and torch.compile wrap."""

    def __init__(self, model: MCDNet):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, unlabelled: Tensor | None = None, detach2: bool = False) -> list[Tensor]:
        """Logits of both heads for `images`, and behind them for `unlabelled`, in a pass of their own."""
        found = [*self.model(images, detach2)]
        return found if unlabelled is None else [*found, *self.model(unlabelled)]


def pretraining_method(passes: nn.Module) -> Method:
    """One step of pre-training: cross-entropy of both heads."""

    def losses(batch: Batch) -> Iterator[Losses]:
        yield {"loss": _cross_entropy(passes(batch.images), batch)}

    return losses


def mcd_method(passes: nn.Module, *, margin: float) -> Method:
    """Steps A and B of a batch, as the author codes them.

    A: cross-entropy of both heads on labelled images, in which head 2 does not move the encoder.
    B: the same without that restriction, and the discrepancy loss on unlabelled images in a pass of their own.
    """

    def losses(batch: PairedBatch) -> Iterator[Losses]:
        a = _cross_entropy(passes(batch.images, detach2=True), batch)
        none = torch.zeros_like(a)
        yield {"loss": a, "loss/a": STEPS * a, "loss/b": none, "loss/discrepancy": none}
        *labelled, first, second = passes(batch.images, batch.unlabelled)
        b = _cross_entropy(labelled, batch)
        logits = (distributed.gather_rows(each, batch.unlabelled_size) for each in (first, second))
        discrepancy = discrepancy_loss(*logits, margin)
        yield {
            "loss": b + discrepancy,
            "loss/a": none,
            "loss/b": STEPS * b,
            "loss/discrepancy": STEPS * discrepancy,
        }

    return losses


def _cross_entropy(heads: list[Tensor], batch: Batch) -> Tensor:
    """Sum of the cross-entropies of the heads, over the labelled images of all processes."""
    labels = distributed.gather_rows(batch.labels, batch.size)
    return sum(nn.functional.cross_entropy(distributed.gather_rows(head, batch.size), labels) for head in heads)


def pretrain(run: TrainRun) -> None:
    """Train both heads on ID train."""
    args, data = run.args, run.data
    model = run.place(build_model(args, len(data.class_names)))
    batches = run.batches(PaddedCrop(data.size, hflip=data.hflip, mean=data.mean, std=data.std))
    run.fit(model, pretraining_method(run.wrap(Passes(model))), batches, name="mcd-pretrain")


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
    wanted = {"arch": args.model, "stem": args.stem, "width": args.width}
    there = {name: found.model.config[name] for name in wanted}
    if there != wanted or found.class_names != class_names:
        raise UserError(
            f"{path} is another network than this run's\n"
            f"  it is      : {_listed(there)}, classes {', '.join(found.class_names)}\n"
            f"  wanted     : {_listed(wanted)}, classes {', '.join(class_names)}"
        )
    return found.model


def _listed(config: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in config.items())


def facts(mix: Mix, model: MCDNet) -> dict[str, Any]:
    """What makes a fine-tuning what it is beside its arguments: the unlabelled images and the weights at its start."""
    weights = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        weights.update(name.encode() + value.numpy().tobytes())
    lists = json.dumps(splits.as_plain(mix.split), sort_keys=True)
    return dict(zip(FACTS, (weights.hexdigest(), hashlib.sha256(lists.encode()).hexdigest()), strict=True))


def choice_auroc(run: TrainRun, model: MCDNet, mix: Mix) -> float:
    """AUROC of the discrepancy on the images for the choice of the epoch."""
    data = run.data
    scores = []
    for images in (mix.choice_id, mix.choice_ood):
        found = extract(
            model, images, mean=data.mean, std=data.std, device=run.device, workers=run.args.workers
        ).outputs
        scores.append(discrepancy_score(found["logits"], found["logits2"]))
    try:
        return ood_metrics(*scores)["auroc"]
    except ValueError as error:  # scores that are not finite
        raise UserError(f"no epoch can be chosen: {error}\n  begin anew : with a smaller --learning_rate") from error


def seen(mix: Mix, best: BestWeights | None, epoch: int) -> dict[str, Any]:
    """What a checkpoint says about the unlabelled images behind it."""
    choice = "the last epoch; no OOD label was used"
    if best is not None:
        choice = (
            f"epoch {int(best.epoch)} of {epoch}, by the AUROC on {len(mix.choice_id):,} ID and "
            f"{len(mix.choice_ood):,} OOD images with their labels, none of which is scored"
        )
    return {
        "mode": mix.split.mode,
        "ood": list(mix.split.ood),
        "choice": choice,
        "epoch": epoch if best is None else int(best.epoch),
        "split": splits.as_plain(mix.split),
    }


def finetune(run: TrainRun, model: MCDNet, mix: Mix) -> None:
    """Drive the heads apart on the unlabelled mix; in the transductive mode keep the epoch that the labels choose."""
    args, data = run.args, run.data
    if distributed.is_main():
        splits.save_split(run.folder.path / "split.json", mix.split)
        announce(mix, args.batch_size)
    model = run.place(model)
    plain = Plain(data.mean, data.std)
    batches = PairedBatches(run.batches(plain), run.batches(plain, mix.unlabelled))
    best = BestWeights(model) if mix.split.mode == "transductive" else None

    def evaluate(epoch: int) -> dict[str, float]:
        if best is None:
            return {}
        auroc = choice_auroc(run, model, mix)
        best.offer(model, auroc, epoch)
        return {"choice/auroc": auroc}

    def amend(content: dict[str, Any]) -> dict[str, Any]:
        if best is not None:
            weights = best.network.state_dict()
            content["state_dict"] = {name: value.detach().cpu().clone() for name, value in weights.items()}
        # The hashes would make runs of several seeds look like runs with different settings.
        content["args"] = {name: value for name, value in content["args"].items() if name not in FACTS}
        return {**content, "unlabelled": seen(mix, best, content["epoch"])}

    run.fit(
        model,
        mcd_method(run.wrap(Passes(model)), margin=args.margin),
        batches,
        name="mcd",
        others={} if best is None else {"best": best},
        nesterov=False,
        evaluate=evaluate,
        amend=amend,
    )


def announce(mix: Mix, batch_size: int) -> None:
    """Say which images are in the mix, and what the mode means."""
    sets = {f"{mix.split.id_name} test": mix.split.id, **mix.split.ood}
    counts = ", ".join(f"{len(part.unlabelled):,} of {name}" for name, part in sets.items())
    scored = "the very images that are scored" if mix.split.mode == "transductive" else "none of which is scored"
    print(f"Unlabelled mix, {mix.split.mode}: {counts}; {scored}")
    notes = list(mix.notes)
    if len(mix.unlabelled) < batch_size:
        notes.append(
            f"the unlabelled mix has {len(mix.unlabelled):,} images, fewer than a batch: each batch has them all"
        )
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def main() -> None:
    """Pre-train, or find that done; then fine-tune."""
    args, first, device = mcd_options.parse_arguments(__doc__, ARCHS)
    with processes(args, device) as device:
        data = load_data(args)
        if args.stage != "finetune":
            settle_batches(first, "mcd-pretrain", data)
            run = TrainRun(first, device, data=data)
            if not run.finished:
                pretrain(run)
            elif args.stage == "pretrain":
                run.say_what_next()
            run.folder.close()  # other fine-tunings may look at it
            distributed.from_main(lambda: None)  # all wait until the checkpoint is there
        if args.stage == "pretrain":
            return
        settle_batches(args, "mcd", data)
        model = start_model(args, args.start or run_folder(first).checkpoint(first.epochs), data.class_names)
        mix = load_mix(data, args.ood, args.ood_loc, mode=args.unlabelled, choice=args.choice, seed=args.split_seed)
        run = TrainRun(args, device, data=data, facts=facts(mix, model))
        if run.finished:
            run.say_what_next()
        else:
            finetune(run, model, mix)


if __name__ == "__main__":
    run_script(main)
