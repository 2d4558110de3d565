"""Running means, speed, and the watch for losses that are not finite; nothing is read from the device until asked."""

import time
from collections.abc import Mapping

import torch
from torch import Tensor


class LossMeter:
    """Sums named scalars on their device over an interval and over the epoch, and remembers the first bad step.

    The names of the first `add` are those of every later one. Sums are float64 on the CPU, float32 elsewhere.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._bad_step = torch.full((), -1, dtype=torch.int64, device=device)
        self._counts = {"interval": 0, "epoch": 0}
        self._allocate([])

    def add(self, losses: Mapping[str, Tensor], step: int) -> None:
        """Take the losses of one optimisation step. Nothing is read back from the device."""
        if not self._names:
            self._allocate(list(losses))
        values = torch.stack([losses[name].detach().to(self._bad_losses) for name in self._names])
        first_bad = ~values.isfinite().all() & (self._bad_step < 0)
        self._bad_step = torch.where(first_bad, step, self._bad_step)
        self._bad_losses = torch.where(first_bad, values, self._bad_losses)
        self._interval = self._interval + values
        self._counts["interval"] += 1

    def _allocate(self, names: list[str]) -> None:
        self._names = names
        dtype = torch.float64 if self._device.type == "cpu" else torch.float32
        self._interval = torch.zeros(len(names), device=self._device, dtype=dtype)
        self._epoch = self._interval.clone()
        self._bad_losses = self._interval.clone()

    def first_bad(self) -> tuple[int, dict[str, float]] | None:
        """Read the flag: the first step with a loss that is not finite, and its losses; None where all were finite."""
        step = int(self._bad_step)
        return None if step < 0 else (step, dict(zip(self._names, self._bad_losses.tolist(), strict=True)))

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
        return dict(zip(self._names, (sums / max(count, 1)).tolist(), strict=True))

    def state_dict(self) -> dict:
        """What a resumed run needs to log the same means."""
        return {"names": self._names, "interval": self._interval, "epoch": self._epoch, "counts": dict(self._counts)}

    def load_state_dict(self, state: Mapping) -> None:
        """Go on from `state_dict()`."""
        self._allocate(list(state["names"]))
        self._interval.copy_(state["interval"])
        self._epoch.copy_(state["epoch"])
        self._counts = {name: int(state["counts"][name]) for name in self._counts}


class Rate:
    """Speed of the training: images per second, and `seconds_per_batch`, as of the last reading."""

    def __init__(self) -> None:
        self.seconds_per_batch = 0.0
        self.restart()

    def restart(self) -> None:
        """Forget what was done since the last reading."""
        self._images = self._batches = 0
        self._since = time.monotonic()

    def add(self, images: int) -> None:
        """One batch of `images` was done."""
        self._images += images
        self._batches += 1

    def read(self) -> float | None:
        """Images per second since the last call; None where there were none."""
        seconds = max(time.monotonic() - self._since, 1e-9)
        rate = self._images / seconds if self._batches else None
        if self._batches:
            self.seconds_per_batch = seconds / self._batches
        self.restart()
        return rate
