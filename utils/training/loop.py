"""Training.fit(): the loop that the methods share.

A method is a generator over one batch that yields dicts of scalar losses. Each yield is one optimisation step on
`losses["loss"]`; the other entries are logged. CIDER yields once per batch, MCD twice.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from signal import Signals
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from tqdm import tqdm

from utils import checkpoint
from utils.errors import UserError, one_line
from utils.training import distributed
from utils.training.interrupts import Interrupts, command_to_go_on
from utils.training.meter import LossMeter, Rate
from utils.training.precision import Precision
from utils.training.random_state import random_state, set_random_state
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
        """`5m` is every five minutes, `0.5m` every half, `2` after every second epoch. ValueError otherwise."""
        if text.endswith("m"):
            policy = cls(minutes=float(text[:-1]))
        else:
            policy = cls(epochs=int(text))
        if not (policy.minutes or policy.epochs or 0) > 0:
            raise ValueError(f"{text}: more than nothing is needed")
        return policy


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
        self._means: dict[str, float] = {}
        self._last_save = time.monotonic()
        self._rate = Rate()

    def fit(self, resume: Mapping[str, Any] | None = None) -> None:
        """Train to the last epoch, from the saved state `resume` or from the start.

        Raises:
            UserError: a loss or a weight is not finite, a file can not be written, or the state is of another network.
        """
        if resume is not None:
            self._restore(resume)
        if distributed.is_main():
            self.folder.start(self.args, resume and resume["logs"], self._steps_done())
        try:
            with Interrupts() as self._interrupts:
                while self.epoch < self.epochs:
                    self._run_epoch()
                    self._end_epoch()
            if distributed.is_main() and not self.folder.checkpoint(self.epochs).exists():
                self._export()
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
            disable=None if distributed.is_main() else True,
        )
        for batch in bar:
            self._run_batch(batch)
            self.batch += 1
            if self.batch < len(self.batches):
                if self.batch % self.print_freq == 0:
                    self._log(self.meter.end_interval, end_of_epoch=False)
                self._save_if_due()

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
        if self._finished() or self.epoch % self.save_epoch == 0:
            self._check_weights()
            if distributed.is_main():
                self._export()
        self._save_if_due()

    def _export(self) -> None:
        checkpoint.save(self.export(self.epoch), self.folder.checkpoint(self.epoch))

    def _save_if_due(self) -> None:
        """Save where it is time to; save and leave on a signal."""
        signal = self._signal()
        minutes, epochs = self.save_every.minutes, self.save_every.epochs
        if (
            signal
            or self._finished()
            or (epochs and self.batch == 0 and self.epoch % epochs == 0)
            or (minutes and time.monotonic() - self._last_save >= 60 * minutes)
        ):
            self._save()
        if signal and not self._finished():
            if distributed.is_main():
                print(f"\n{signal.name}: state saved. This goes on from here:\n  {command_to_go_on()}", flush=True)
            sys.exit(128 + signal)

    def _signal(self) -> Signals | None:
        """The signal that ends the run, the same on all processes: one that stopped alone would block the others."""
        received = self._interrupts.received
        if distributed.world_size() == 1:
            return received
        if self.batch % self.print_freq:
            return None  # to agree costs a host read, so not every step
        agreed = distributed.largest(received or 0, self.device)
        return Signals(agreed) if agreed else None

    def _save(self) -> None:
        """Write last.pt; a state with losses or weights that are not finite never replaces a good one."""
        self._check_losses()
        self._check_weights()
        self._last_save = time.monotonic()
        if distributed.is_main():
            checkpoint.save(self.state(), self.folder.last, previous=self.folder.previous)

    def _check_losses(self) -> None:
        bad = self.meter.first_bad()
        if bad is not None:
            step, losses = bad
            self._stop(f"the loss is not finite at {self._place(step)}: {_listed(losses)}")

    def _check_weights(self) -> None:
        values = {
            f"{key}.{name}": value
            for key, module in self.modules.items()
            for name, value in module.state_dict().items()
            if value.is_floating_point()
        }
        finite = torch.stack([value.isfinite().all() for value in values.values()]).tolist()
        if not all(finite):
            self._stop(f"{list(values)[finite.index(False)]} is not finite after {self._place(self._steps_done() - 1)}")

    def _place(self, step: int) -> str:
        epoch, batch = divmod(step, len(self.batches))
        return f"epoch {epoch + 1}, batch {batch + 1} (step {step + 1}), lr {self.schedule(epoch, batch):.3g}"

    def _stop(self, fault: str) -> NoReturn:
        kept = f"{self.folder.last}, the last good state" if self.folder.last.exists() else "nothing was saved yet"
        advice = "" if self.amp == "off" else "the same command with --amp off, from the last good state; or "
        raise UserError(
            f"{fault}\n  before     : {_listed(self._means) or 'nothing logged yet'}\n  kept       : {kept}\n"
            f"  go on with : {advice}a smaller --learning_rate or a longer --warmup-epochs, from the start"
        )

    def _log(self, means_of: Callable[[], dict[str, float]], *, end_of_epoch: bool) -> None:
        self._check_losses()
        self._means = means_of()
        images_per_second = self._rate.read()
        if not distributed.is_main():
            return
        done = self._steps_done()
        batches = len(self.batches)
        line = {
            "epoch": math.ceil(done / batches),
            "batch": (done - 1) % batches + 1,
            "step": done,
            **self.describe(self._means, done),
            "lr": self.optimizer.param_groups[0]["lr"],
            **(self.evaluate(self.epoch) if end_of_epoch else {}),
            "images_per_second": images_per_second,
            "eta_seconds": self._rate.seconds_per_batch * (self.epochs * batches - done),
            "memory_gb": torch.cuda.max_memory_allocated(self.device) / 1e9 if self.device.type == "cuda" else None,
        }
        self.folder.record(line, epochs=self.epochs, batches=batches, end_of_epoch=end_of_epoch)

    def _steps_done(self) -> int:
        return self.epoch * len(self.batches) + self.batch

    def _finished(self) -> bool:
        return self.epoch == self.epochs

    def state(self) -> dict[str, Any]:
        """Everything a resumed run needs to go on as if it had not been interrupted."""
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "finished": self._finished(),
            "args": dict(self.args),
            "modules": {name: module.state_dict() for name, module in self.modules.items()},
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.precision.scaler.state_dict(),
            "random": random_state(self.device),
            "meter": self.meter.state_dict(),
            "logs": self.folder.logs(),
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        try:
            for name, module in self.modules.items():
                _load_module(module, state["modules"][name])
            _load_optimizer(self.optimizer, state["optimizer"])
            if state["scaler"]:
                self.precision.scaler.load_state_dict(state["scaler"])
            set_random_state(state["random"], self.device)
            self.meter.load_state_dict(state["meter"])
            self.epoch, self.batch = int(state["epoch"]), int(state["batch"])
        except (LookupError, TypeError, ValueError, RuntimeError, AttributeError, OverflowError) as error:
            raise UserError(
                f"the saved state does not fit this run: {one_line(error)}\n  begin anew : --resume none"
            ) from error


def _load_module(module: nn.Module, state: Mapping[str, Any]) -> None:
    """`load_state_dict`, which takes tensors of any kind for each other, and a ValueError where one is of another."""
    for name, own in module.state_dict().items():
        if name in state and (state[name].dtype, state[name].layout) != (own.dtype, own.layout):
            raise ValueError(f"{name} is {state[name].layout} of {state[name].dtype}")
    module.load_state_dict(state)


def _load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """`load_state_dict`, which takes anything for a number or a tensor, and a ValueError where one is none."""
    optimizer.load_state_dict(state)
    for name, own in optimizer.defaults.items():
        if isinstance(own, float) and not all(isinstance(group[name], int | float) for group in optimizer.param_groups):
            raise ValueError(f"the {name} of its optimizer is not a number")
    for parameter, entries in optimizer.state.items():
        for name, value in entries.items():
            if value is not None and getattr(value, "shape", None) != parameter.shape:
                raise ValueError(f"the {name} of its optimizer is not a tensor like its weights")


def _listed(losses: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
