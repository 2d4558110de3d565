"""SIGTERM and Ctrl-C: finish the step, save, and leave with the status that the shell expects."""

import shlex
import signal
import sys
from types import FrameType


class Interrupts:
    """Context in which the first SIGINT or SIGTERM is only noted in `received`; a second one acts at once."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> "Interrupts":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        signal.signal(number, signal.SIG_DFL)

    @staticmethod
    def leave(number: signal.Signals) -> None:
        """End the process with 128 + the signal's number: 130 after Ctrl-C, 143 after SIGTERM."""
        print(
            f"\n{number.name}: state saved; the same command goes on from here:\n  "
            f"{shlex.join([sys.executable, *sys.argv])}",
            flush=True,
        )
        sys.exit(128 + number)
