"""SIGTERM and Ctrl-C: finish the step, save, and leave with the status that the shell expects."""

import signal
from types import FrameType

import torch

from utils.training import distributed


class Interrupts:
    """Context in which the first SIGINT or SIGTERM is only noted in `received`; a second one acts at once."""

    received: signal.Signals | None = None

    def __enter__(self) -> "Interrupts":
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def agreed(self, device: torch.device, *, due: bool) -> signal.Signals | None:
        """What was received, the same on all processes: one that stopped alone would block the others.

        Args:
            due: several processes ask each other now; where not, they go on.
        """
        if distributed.world_size() == 1:
            return self.received
        agreed = distributed.largest(self.received or 0, device) if due else 0
        return signal.Signals(agreed) if agreed else None

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        signal.signal(number, signal.SIG_DFL)
