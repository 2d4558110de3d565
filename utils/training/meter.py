"""Running means, speed, and the watch for losses that are not finite; nothing is read from the device until asked."""

import time
from collections.abc import Mapping

import torch
from torch import Tensor


class LossMeter:
    """Sums named scalars over an interval and over the epoch, and remembers the first step with a bad one.

    The names of the first `add` are those of every later one. A step costs one copy on the device; sums are float64.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[int, Tensor]] = []  # steps whose scalars have not been read
        self._bad: tuple[int, dict[str, float]] | None = None
        self._counts = {"interval": 0, "epoch": 0}
        self._allocate([])

    def _allocate(self, names: list[str]) -> None:
        self._names = names
        self._sums = {span: torch.zeros(len(names), dtype=torch.float64) for span in self._counts}

    def add(self, losses: Mapping[str, Tensor], step: int) -> None:
        """Take the losses of one optimisation step. Nothing is read back from the device."""
        if not self._names:
            self._allocate(list(losses))
        self._waiting.append((step, torch.stack([losses[name].detach() for name in self._names])))

    def _read(self) -> None:
        if not self._waiting:
            return
        rows = torch.stack([row for _, row in self._waiting]).cpu().double()
        for (step, _), row in zip(self._waiting, rows, strict=True):
            if self._bad is None and not row.isfinite().all():
                self._bad = step, dict(zip(self._names, row.tolist(), strict=True))
            self._sums["interval"] += row  # one after the other, so that a save in between changes no last digit
            self._counts["interval"] += 1
        self._waiting.clear()

    def first_bad(self) -> tuple[int, dict[str, float]] | None:
        """The first step with a loss that is not finite, and its losses; None where all were finite."""
        self._read()
        return self._bad

    def end_interval(self) -> dict[str, float]:
        """Means since the last call; they stay in the epoch's means."""
        self._read()
        self._sums["epoch"] += self._sums["interval"]
        self._counts["epoch"] += self._counts["interval"]
        return self._end("interval")

    def end_epoch(self) -> dict[str, float]:
        """Means over the epoch; starts the next one."""
        self.end_interval()
        return self._end("epoch")

    def _end(self, span: str) -> dict[str, float]:
        means = self._sums[span] / max(self._counts[span], 1)
        self._sums[span].zero_()
        self._counts[span] = 0
        return dict(zip(self._names, means.tolist(), strict=True))

    def state_dict(self) -> dict:
        """What a resumed run needs to log the same means."""
        self._read()
        return {"names": self._names, **self._sums, "counts": dict(self._counts)}

    def load_state_dict(self, state: Mapping) -> None:
        """Go on from `state_dict()`."""
        self._names, self._counts = list(state["names"]), dict(state["counts"])
        self._sums = {span: state[span].to(torch.float64, copy=True) for span in self._counts}


class Rate:
    """Speed of the training: images per second, however many views they have, and `seconds_per_batch`, as last read."""

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
