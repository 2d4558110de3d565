"""One run: a recipe placed on its device, fitted with batches, trained from where it stands, and exported."""

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from utils import checkpoint
from utils.data.augment import Plain
from utils.data.batches import PairedBatches, TrainBatches
from utils.data.id_sets import IDData
from utils.data.images import ImageSet
from utils.evaluation.collapse import collapse, collapse_warning
from utils.evaluation.quick import quick_look
from utils.files import typed
from utils.methods import find_method
from utils.training import distributed
from utils.training.loop import Training
from utils.training.recipe import ForwardPass, Recipe
from utils.training.resume import finished_state, saved_state
from utils.training.run_folder import RunFolder
from utils.training.settings import RunSettings
from utils.training.start import first_prototypes


class Run:
    """A training in its folder; `train` carries out a recipe. All generators of random numbers are seeded here.

    Args:
        path: the run's folder.
        method: name of the method, as in utils.methods.
        record: what is written down about it, as JSON knows it.
        key: the part of it that makes the run what it is, and must be the same when it goes on.
        again: the shell command that goes on with it.
    Attributes:
        state: what was saved to go on from, or None.    finished: there is nothing left to do.
    Raises:
        UserError: the folder is in use, or holds the state of another run.
    """

    def __init__(
        self,
        path: Path,
        settings: RunSettings,
        device: torch.device,
        *,
        method: str,
        data: IDData,
        record: Mapping[str, Any],
        key: Mapping[str, Any],
        again: str = "",
    ) -> None:
        distributed.check_sync_bn(device, settings.sync_bn)
        self.folder = RunFolder(path)
        self.settings, self.device, self.method = settings, device, method
        self.data, self.record, self.again = data, record, again
        self.state, self.finished = distributed.from_main(lambda: self._open(key))
        self._id_accuracy: float | None = None
        torch.manual_seed(settings.seed)

    def _open(self, key: Mapping[str, Any]) -> tuple[dict[str, Any] | None, bool]:
        """The state, and whether it is the last one; a finished run needs no folder that can be written."""
        state = saved_state(self.folder, self.settings.resume, key, self.method)
        network = self.folder.checkpoint(self.settings.epochs)
        if state is None and self.settings.resume == "auto" and network.exists():
            state = finished_state(network, key, self.method)  # or the same command would train over it
        finished = state is not None and state["finished"] and network.exists()
        if not finished:
            self.folder.lock()
        return state, finished

    def train(self, recipe: Recipe, batches: TrainBatches | PairedBatches | None = None) -> None:
        """Train to the last epoch.

        Args:
            batches: what to train on in place of `self.batches(recipe)`.
        Raises:
            UserError: a loss or a weight is not finite, a file can not be written, or the state is of another network.
        """
        for module in recipe.modules.values():
            module.to(self.device)
        if self.settings.channels_last:
            recipe.model.to(memory_format=torch.channels_last)
        batches = batches or self.batches(recipe)
        if self.state is None and recipe.prototypes is not None:
            # From one process, for two GPUs may round differently and the prototypes must be the same on all.
            first = partial(first_prototypes, recipe, self.data, self.settings, self.device)
            recipe.prototypes.start_at(distributed.from_main(first))
        network = distributed.wrap(
            ForwardPass(recipe.model, recipe.forward, recipe.late), sync_bn=self.settings.sync_bn
        )
        if distributed.is_main():
            print(self._opening_line(recipe, len(batches)), flush=True)
        Training(self, recipe, network, batches).fit(self.state)
        fault = collapse(len(self.data.class_names), self._id_accuracy, recipe.unit_prototypes)
        if fault and distributed.is_main():
            print(collapse_warning(fault, self.record), file=sys.stderr)

    @property
    def batch_size(self) -> int:
        """Images in a full batch, over all processes."""
        return min(self.settings.batch_size, len(self.data.train))

    def batches(self, recipe: Recipe) -> TrainBatches | PairedBatches:
        """This process's share of the batches of ID train, with unlabelled images where the recipe has some."""
        labelled = self._batches_of(self.data.train, recipe.augmentation, noise=recipe.noise)
        if recipe.unlabelled is None:
            return labelled
        return PairedBatches(labelled, self._batches_of(recipe.unlabelled, recipe.augmentation, drop_rest=True))

    def _batches_of(self, images: ImageSet, augmentation: Plain, **more: Any) -> TrainBatches:
        try:
            return TrainBatches(
                images,
                augmentation,
                batch_size=min(self.settings.batch_size, len(images)),
                compiled=self.settings.compile,
                seed=self.settings.seed,
                device=self.device,
                rank=distributed.rank(),
                world_size=distributed.world_size(),
                workers=self.settings.workers,
                channels_last=self.settings.channels_last,
                **more,
            )
        except ValueError as error:
            distributed.refuse(str(error).replace("--", "--pretrain-" if self.method == "mcd-pretrain" else "--"))

    def end_epoch(self, recipe: Recipe, epoch: int, step: int) -> dict[str, float | None]:
        """Figures for the line at the end of an epoch: of a quick look, which decides nothing, and the monitor's."""
        every, data = self.settings.eval_freq, self.data
        found: dict[str, float | None] = {"id/knn_accuracy": None, "noise/auroc": None} if every else {}
        if every and (epoch % every == 0 or epoch == self.settings.epochs):
            found, histograms = quick_look(
                recipe.model, data, recipe.unit_prototypes, self.device, self.settings.workers
            )
            self.folder.illustrate(histograms, step)
            self._id_accuracy = found["id/knn_accuracy"]
        return {**found, **recipe.monitor.end_epoch(epoch)}

    def export(self, recipe: Recipe, epoch: int) -> None:
        """Write the checkpoint of an epoch in the official format."""
        data = self.data
        content = checkpoint.official_format(
            recipe.model,
            recipe.unit_prototypes,
            method=self.method,
            epoch=epoch,
            # What a new image must be made into before the network can look at it.
            args={**self.record, "input": {"size": data.size, "mean": data.mean, "std": data.std}},
            class_names=data.class_names,
        )
        checkpoint.save(recipe.monitor.amend(content), self.folder.checkpoint(epoch))

    def _opening_line(self, recipe: Recipe, batches: int) -> str:
        """What is trained on what, and from where on."""
        data, state, config = self.data, self.state, recipe.model.config
        label = find_method(type(recipe.model).__name__, self.method).label
        width = f" (width {config['width']})" if config["width"] != 64 else ""
        at = "" if state is None else f", resumed at epoch {state['epoch'] + 1}, batch {state['batch'] + 1}"
        return (
            f"Training {label} on {data.name}: {len(data.train):,} images of {len(data.class_names)} classes, "
            f"{config['arch']}{width}, {self.settings.epochs} epochs of {batches} batches, {self.device}, "
            f"seed {self.settings.seed}{at}"
        )

    def say_what_next(self) -> None:
        """Print the command that evaluates the finished run."""
        if distributed.is_main():
            path = self.folder.checkpoint(self.settings.epochs)
            print(f"Finished: {path}\nTo evaluate it:\n  {typed('eval_cider.py', '--ckpt', path)}")
