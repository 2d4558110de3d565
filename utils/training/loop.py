"""Training.fit(): the loop that the methods share.

A method is a generator over one batch that yields dicts of scalar losses. Each yield is one optimisation step on
`losses["loss"]`; the other entries are logged. CIDER yields once per batch, MCD twice.
"""

import contextlib
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from utils.errors import UserError
from utils.training import checkpoint, distributed
from utils.training.interrupts import Interrupts
from utils.training.meter import LossMeter
from utils.training.run_folder import RunFolder

Losses = Mapping[str, Tensor]
Method = Callable[[Any], Iterator[Losses]]


@dataclass(frozen=True)
class SaveEvery:
    """How often the state of the training is saved: after so many epochs, or so many minutes."""

    epochs: int | None = None
    minutes: float | None = None

    @classmethod
    def parse(cls, text: str) -> "SaveEvery":
        """`5m` is every five minutes, `2` after every second epoch. ValueError otherwise."""
        if text.endswith("m"):
            policy = cls(minutes=float(text[:-1]))
        else:
            policy = cls(epochs=int(text))
        if not (policy.minutes or policy.epochs or 0) > 0:
            raise ValueError(f"{text}: more than nothing is needed")
        return policy


class Precision:
    """Autocast for the forward pass, loss scaling for float16, and the optimiser's step."""

    def __init__(self, amp: str, device: torch.device):
        self._dtype = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}[amp]
        self._device = device
        self.scaler = torch.amp.GradScaler(device.type, enabled=amp == "fp16")

    def autocast(self) -> contextlib.AbstractContextManager:
        """Context for the forward pass and the losses."""
        if self._dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self._device.type, dtype=self._dtype)

    def step(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Backward pass and one step of the optimiser."""
        optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.step(optimizer)
        self.scaler.update()


def rng_state(device: torch.device) -> dict[str, Any]:
    """State of every random number generator that a training could draw from, as tensors and plain values."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "python": random.getstate(),
        "numpy": [kind, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss],
    }


def set_rng_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Put every random number generator back to `rng_state()`."""
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"], device)
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002


@dataclass(kw_only=True)
class Training:
    """One training run; `fit` does it.

    Args:
        modules: name -> module whose state is saved and restored (the network, the prototypes, ...).
        method: batch -> generator of losses, one optimisation step a yield.
        batches: utils.data.batches.TrainBatches, or anything with len() and epoch(number, start).
        optimizer, schedule: schedule(epoch, batch) is the learning rate of that step; both count from 0.
        args: the run's arguments, saved with it.
        folder: where everything is written.
        export: epoch -> content of the official-format checkpoint, written every `save_epoch` epochs and at the end.
        amp: precision of the network, "off", "bf16" or "fp16".
        print_freq: steps between log lines; there is one at the end of each epoch as well.
        save_every: how often last.pt is written.
        describe: means of the losses, steps done -> what is logged.
        evaluate: epochs done -> further figures for the line at the end of that epoch; None where it has none.
    """

    modules: Mapping[str, nn.Module]
    method: Method
    batches: Any
    optimizer: torch.optim.Optimizer
    schedule: Callable[[int, int], float]
    epochs: int
    device: torch.device
    args: Mapping[str, Any]
    folder: RunFolder
    export: Callable[[int], dict[str, Any]]
    amp: str = "off"
    print_freq: int = 100
    save_every: SaveEvery = SaveEvery(minutes=5)
    save_epoch: int = 100
    describe: Callable[[dict[str, float], int], dict[str, float]] = lambda means, step: means
    evaluate: Callable[[int], dict[str, float | None]] = lambda epoch: {}

    def __post_init__(self) -> None:
        self.precision = Precision(self.amp, self.device)
        self.meter = LossMeter(self.device)
        self.epoch = self.batch = 0  # the next batch to be done
        self._last_save = time.monotonic()
        self._rate = _Rate()

    def fit(self, resume: Mapping[str, Any] | None = None) -> None:
        """Train to the last epoch, from the saved state `resume` or from the start.

        Raises:
            UserError: a loss is not finite, or a checkpoint can not be written; it says what was kept.
        """
        if resume is not None:
            self._restore(resume)
        if distributed.is_main():
            self.folder.start(self.args, resume and resume["position"], self._steps_done())
        try:
            with Interrupts() as self._interrupts:
                while self.epoch < self.epochs:
                    self._run_epoch()
        finally:
            self.folder.close()

    def _run_epoch(self) -> None:
        for module in self.modules.values():
            module.train()
        bar = tqdm(
            self.batches.epoch(self.epoch, self.batch),
            initial=self.batch,
            total=len(self.batches),
            leave=False,
            disable=None,
        )
        for batch in bar:
            self._run_batch(batch)
            self.batch += 1
            if self.batch < len(self.batches):
                if self.batch % self.print_freq == 0:
                    self._log(self.meter.end_interval, end_of_epoch=False)
                self._save_if_due()
        self._end_epoch()

    def _run_batch(self, batch: Any) -> None:
        lr = self.schedule(self.epoch, self.batch)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        steps = self.method(batch)
        while True:
            with self.precision.autocast():
                losses = next(steps, None)
            if losses is None:
                break
            self.precision.step(losses["loss"], self.optimizer)
            self.meter.add(losses, self._steps_done())
        self._rate.add(len(batch.images))

    def _end_epoch(self) -> None:
        self.epoch, self.batch = self.epoch + 1, 0
        # The line of a whole epoch is logged as its last batch.
        self._log(self.meter.end_epoch, end_of_epoch=True)
        finished = self.epoch == self.epochs
        if distributed.is_main() and (finished or self.epoch % self.save_epoch == 0):
            checkpoint.save(self.export(self.epoch), self.folder.checkpoint(self.epoch))
        if finished or (self.save_every.epochs and self.epoch % self.save_every.epochs == 0):
            self._save()
        else:
            self._save_if_due()

    def _save_if_due(self) -> None:
        """Save and stop on a signal; save where the minutes are over."""
        signal = self._interrupts.received
        if distributed.world_size() > 1 and self.batch % self.print_freq == 0:
            # A rank that stopped alone would leave the others waiting. To agree costs a host read, so not every step.
            signal = signal if distributed.any_process(bool(signal), self.device) else None
        elif distributed.world_size() > 1:
            signal = None
        minutes = self.save_every.minutes
        if signal or (minutes and time.monotonic() - self._last_save >= 60 * minutes):
            self._save()
        if signal:
            self._interrupts.leave(signal)

    def _save(self) -> None:
        """Write last.pt, after a look at the flag for bad losses: a bad state never replaces a good one."""
        self._check_finite()
        self._last_save = time.monotonic()
        if distributed.is_main():
            checkpoint.save(self.state(), self.folder.last, keep_previous=True)

    def _check_finite(self) -> None:
        try:
            self.meter.check(batches_per_epoch=len(self.batches))
        except UserError as error:
            lr = self.schedule(self.epoch, self.batch)
            raise UserError(
                f"{error}; lr {lr:.3g}\n  kept       : {self.folder.last} (the last good state)\n"
                "  go on with : the same command and --amp off, or begin again with a smaller --learning_rate"
            ) from None

    def _log(self, means_of: Callable[[], dict[str, float]], *, end_of_epoch: bool) -> None:
        self._check_finite()
        means = means_of()
        images_per_second = self._rate.read()
        if not distributed.is_main():
            return
        done = self._steps_done()
        batches = len(self.batches)
        line = {
            "epoch": math.ceil(done / batches),
            "batch": (done - 1) % batches + 1,
            "step": done,
            **self.describe(means, done),
            "lr": self.optimizer.param_groups[0]["lr"],
            **(self.evaluate(self.epoch) if end_of_epoch else {}),
            "images_per_second": images_per_second,
            "eta_seconds": self._rate.seconds_per_batch * (self.epochs * batches - done),
            "memory_gb": torch.cuda.max_memory_allocated(self.device) / 1e9 if self.device.type == "cuda" else None,
        }
        self.folder.record(line, epochs=self.epochs, batches=batches, end_of_epoch=end_of_epoch)

    def _steps_done(self) -> int:
        return self.epoch * len(self.batches) + self.batch

    def state(self) -> dict[str, Any]:
        """Everything a resumed run needs to go on as if it had not been interrupted."""
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "finished": self.epoch == self.epochs,
            "args": dict(self.args),
            "modules": {name: module.state_dict() for name, module in self.modules.items()},
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.precision.scaler.state_dict(),
            "rng": rng_state(self.device),
            "meter": self.meter.state_dict(),
            "position": self.folder.position(),
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.epoch, self.batch = state["epoch"], state["batch"]
        for name, module in self.modules.items():
            module.load_state_dict(state["modules"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:
            self.precision.scaler.load_state_dict(state["scaler"])
        set_rng_state(state["rng"], self.device)
        self.meter.load_state_dict(state["meter"])


class _Rate:
    """Images per second since the last reading."""

    def __init__(self) -> None:
        self.seconds_per_batch = 0.0
        self._restart()

    def _restart(self) -> None:
        self._images = self._batches = 0
        self._since = time.monotonic()

    def add(self, images: int) -> None:
        self._images += images
        self._batches += 1

    def read(self) -> float:
        seconds = max(time.monotonic() - self._since, 1e-9)
        rate = self._images / seconds
        if self._batches:
            self.seconds_per_batch = seconds / self._batches
        self._restart()
        return rate
