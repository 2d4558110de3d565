"""Running means of losses on the device, and the watch for losses that are not finite; no host read until asked."""

from collections.abc import Mapping

import torch
from torch import Tensor

from utils.errors import UserError


class LossMeter:
    """Sums named scalars on their device over an interval and over the epoch, and remembers the first bad step.

    The names of the first `add` are those of every later one.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self.names: list[str] = []
        self._interval = self._epoch = torch.zeros(0, device=device)
        self._bad_losses = torch.zeros(0, device=device)
        self._bad_step = torch.full((), -1, dtype=torch.int64, device=device)
        self._counts = {"interval": 0, "epoch": 0}

    def add(self, losses: Mapping[str, Tensor], step: int) -> None:
        """Take the losses of one optimisation step. Nothing is read back from the device."""
        if not self.names:
            self._allocate(list(losses))
        values = torch.stack([losses[name].detach().float() for name in self.names])
        first_bad = ~values.isfinite().all() & (self._bad_step < 0)
        self._bad_step = torch.where(first_bad, step, self._bad_step)
        self._bad_losses = torch.where(first_bad, values, self._bad_losses)
        self._interval = self._interval + values.double() if values.device.type == "cpu" else self._interval + values
        self._counts["interval"] += 1

    def _allocate(self, names: list[str]) -> None:
        self.names = names
        dtype = torch.float64 if self._device.type == "cpu" else torch.float32
        self._interval = torch.zeros(len(names), device=self._device, dtype=dtype)
        self._epoch = self._interval.clone()
        self._bad_losses = torch.zeros(len(names), device=self._device)

    def check(self, *, batches_per_epoch: int) -> None:
        """Read the flag. Raises UserError with epoch, batch and losses where a loss was not finite."""
        step = int(self._bad_step)
        if step < 0:
            return
        losses = ", ".join(
            f"{name} {value:.4g}" for name, value in zip(self.names, self._bad_losses.tolist(), strict=True)
        )
        raise UserError(
            f"the loss is not finite at epoch {step // batches_per_epoch + 1}, batch {step % batches_per_epoch + 1}: "
            f"{losses}"
        )

    def end_interval(self) -> dict[str, float]:
        """Means since the last call; they stay in the epoch's means."""
        means = self._means(self._interval, self._counts["interval"])
        self._epoch = self._epoch + self._interval
        self._counts["epoch"] += self._counts["interval"]
        self._interval = torch.zeros_like(self._interval)
        self._counts["interval"] = 0
        return means

    def end_epoch(self) -> dict[str, float]:
        """Means over the epoch; starts the next one."""
        self.end_interval()
        means = self._means(self._epoch, self._counts["epoch"])
        self._epoch = torch.zeros_like(self._epoch)
        self._counts["epoch"] = 0
        return means

    def _means(self, sums: Tensor, count: int) -> dict[str, float]:
        return dict(zip(self.names, (sums / max(count, 1)).tolist(), strict=True))

    def state_dict(self) -> dict:
        """What a resumed run needs to log the same means."""
        return {"names": self.names, "interval": self._interval, "epoch": self._epoch, "counts": dict(self._counts)}

    def load_state_dict(self, state: Mapping) -> None:
        """Go on from `state_dict()`."""
        self._allocate(list(state["names"]))
        self._interval = state["interval"].to(self._interval)
        self._epoch = state["epoch"].to(self._epoch)
        self._counts = dict(state["counts"])
