"""The loop that all methods share: epochs, precision, learning rate, log, saved states, interrupts, NaN stop."""

import math
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import nn
from tqdm import tqdm

from utils import checkpoint
from utils.data.augment import shown_views
from utils.data.batches import Batch, PairedBatches, TrainBatches
from utils.errors import UserError
from utils.training import distributed
from utils.training.finite import advice, bad_loss, bad_weight
from utils.training.interrupts import Interrupts
from utils.training.meter import LossMeter, Rate
from utils.training.optimisation import Optimisation, compiler_errors, sgd
from utils.training.precision import Precision
from utils.training.recipe import Recipe
from utils.training.resume import Resumable
from utils.training.schedule import learning_rate

if TYPE_CHECKING:
    from utils.training.run import Run


class Training:
    """The steps of a run; `fit` takes them all.

    Args:
        run: gives settings, device and folder, and exports checkpoints.
        recipe: what is trained; its modules lie on the device.
        network: its forward pass, over all processes.
        batches: TrainBatches, PairedBatches, or anything with len() and epoch(number, start).
    """

    def __init__(self, run: "Run", recipe: Recipe, network: nn.Module, batches: TrainBatches | PairedBatches) -> None:
        self.run, self.recipe, self.batches = run, recipe, batches
        self.settings, self.folder = run.settings, run.folder
        self.optimizer = sgd(recipe, self.settings, run.device)
        self.precision = Precision(self.settings.amp, run.device)
        size = run.batch_size if self.settings.compile else None
        self.optimisation = Optimisation(network, recipe, self.optimizer, self.precision, run.device, compile_size=size)
        self.meter = LossMeter()
        self._resumable = Resumable(recipe.modules, self.optimizer, self.precision.scaler, self.meter, run.device)
        self.epoch = self.batch = 0  # the next batch to be done
        self._save_every = self.settings.save_every
        self._means: dict[str, float] = {}
        self._last_save = time.monotonic()
        self._rate = Rate()

    def fit(self, state: Mapping[str, Any] | None = None) -> None:
        """Train to the last epoch, from a saved state or from the start; UserErrors as in `Run.train`."""
        if state is not None:
            self._resumable.restore(state)
            self.epoch, self.batch = state["epoch"], state["batch"]
        if distributed.is_main():
            self.folder.start(self.run.record, state and state["logs"], self._steps_done())
            if self.settings.compile:
                print("compiling ...", flush=True)
        try:
            with Interrupts() as self._interrupts, compiler_errors():
                while not self._finished():
                    self._run_epoch()
                    self._end_epoch()
            if distributed.is_main() and not self.folder.checkpoint(self.settings.epochs).exists():
                self.run.export(self.recipe, self.epoch)
        finally:
            self.folder.close()
        # One that came in the last batch, or later, ends the command, which may have more to do than this training.
        if signal := self._interrupts.agreed(self.run.device, due=True):
            sys.exit(128 + signal)

    def _run_epoch(self) -> None:
        for module in self.recipe.modules.values():
            module.train()
        bar = tqdm(
            self.batches.epoch(self.epoch, self.batch),
            initial=self.batch,
            total=len(self.batches),
            leave=False,
            disable=None if distributed.is_main() else True,
        )
        for batch in bar:
            if self._steps_done() == 0 and distributed.is_main():
                self.folder.illustrate(shown_views(batch.images, self.recipe.augmentation), step=1)
            self._run_batch(batch)
            self.batch += 1
            if self.batch < len(self.batches):
                if self.batch % self.settings.print_freq == 0:
                    self._log(self.meter.end_interval, end_of_epoch=False)
                self._save_if_due()

    def _run_batch(self, batch: Batch) -> None:
        for losses in self.optimisation(batch, self._learning_rate(self.epoch, self.batch)):
            self.meter.add(losses, self._steps_done())
        if self.optimisation.steady:
            self._rate.add(batch.size)
        else:
            self._rate.restart()  # the minute of a compilation says nothing about the time left

    def _end_epoch(self) -> None:
        self.epoch, self.batch = self.epoch + 1, 0
        # The line of a whole epoch is logged as its last batch.
        self._log(self.meter.end_epoch, end_of_epoch=True)
        if self._finished() or self.epoch % self.settings.save_epoch == 0:
            self._check(weights=True)
            if distributed.is_main():
                self.run.export(self.recipe, self.epoch)
        self._save_if_due()
        self._rate.restart()  # what ends an epoch, such as a quick look, says nothing about the next one's speed

    def _learning_rate(self, epoch: int, batch: int) -> float:
        schedule = self.settings.schedule
        return learning_rate(epoch, batch, len(self.batches), **schedule, cosine_to=self.recipe.cosine_to)

    def _log(self, means_of: Callable[[], dict[str, float]], *, end_of_epoch: bool) -> None:
        self._check(weights=False)
        self._means = means_of()
        images_per_second = self._rate.read()
        if not distributed.is_main():
            return
        done, batches, device = self._steps_done(), len(self.batches), self.run.device
        try:
            figures = self.run.end_epoch(self.recipe, self.epoch, done) if end_of_epoch else {}
        except ValueError as error:  # of scores and metrics, which look at what the network makes of images
            self._give_up(f"the features are not finite after {self._place(done - 1)}: {error}")
        line = {
            "epoch": math.ceil(done / batches),
            "batch": (done - 1) % batches + 1,
            "step": done,
            **self.recipe.monitor.describe(self._means, done / batches),
            "lr": self.optimizer.param_groups[0]["lr"],
            **figures,
            "images_per_second": images_per_second,
            "eta_seconds": images_per_second and self._rate.seconds_per_batch * (self.settings.epochs * batches - done),
            "memory_gb": torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None,
        }
        self.folder.record(line, epochs=self.settings.epochs, batches=batches, end_of_epoch=end_of_epoch)

    def _save_if_due(self) -> None:
        """Save where it is time to; save and leave on a signal."""
        # To agree costs a host read, so not every step.
        signal = self._interrupts.agreed(self.run.device, due=self.batch % self.settings.print_freq == 0)
        due = self._save_every.due(self.epoch, self.batch, time.monotonic() - self._last_save)
        if signal or due or self._finished():
            self._save()
        if signal and not self._finished():
            if distributed.is_main():
                print(f"\n{signal.name}: state saved. This goes on from here:\n  {self.run.again}", flush=True)
            sys.exit(128 + signal)

    def _save(self) -> None:
        """Write last.pt; a state with losses or weights that are not finite never replaces a good one."""
        self._check(weights=True)
        self._last_save = time.monotonic()
        if distributed.is_main():
            checkpoint.save(self.state(), self.folder.last, previous=self.folder.previous)

    def state(self) -> dict[str, Any]:
        """Everything a resumed run needs to go on as if it had not been interrupted."""
        return {
            "method": self.run.method,
            "epoch": self.epoch,
            "batch": self.batch,
            "finished": self._finished(),
            "args": dict(self.run.record),
            "logs": self.folder.logs(),
            **self._resumable.snapshot(),
        }

    def _check(self, *, weights: bool) -> None:
        fault = bad_loss(self.meter, self._place)
        if weights:
            fault = fault or bad_weight(self.recipe.modules, self._place(self._steps_done() - 1))
        if fault:
            self._give_up(fault)

    def _give_up(self, fault: str) -> NoReturn:
        first = self.run.method == "mcd-pretrain"
        raise UserError(advice(fault, self._means, self.folder.last, self.settings.amp, pretraining=first))

    def _place(self, step: int) -> str:
        epoch, batch = divmod(step, len(self.batches))
        return f"epoch {epoch + 1}, batch {batch + 1} (step {step + 1}), lr {self._learning_rate(epoch, batch):.3g}"

    def _steps_done(self) -> int:
        return self.epoch * len(self.batches) + self.batch

    def _finished(self) -> bool:
        return self.epoch == self.settings.epochs
