"""SIGTERM and Ctrl-C: finish the step, save, and leave with the status that the shell expects."""

import signal
import threading
from types import FrameType


class Interrupts:
    """Context in which the first SIGINT or SIGTERM is only noted in `received`; a second one acts at once.

    Outside of the main thread, where Python allows no signal handlers, it notes nothing.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        signal.signal(number, signal.SIG_DFL)
