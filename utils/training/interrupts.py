"""SIGTERM and Ctrl-C: finish the step, save, and leave with the status that the shell expects."""

import os
import shlex
import signal
import sys
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


def command_to_go_on() -> str:
    """The shell command that started this process, for any folder, with --resume left to its default."""
    arguments = iter(sys.argv)
    kept = []
    for argument in arguments:
        if argument == "--resume":
            next(arguments, None)
        elif not argument.startswith("--resume="):
            kept.append(argument)
    launcher = [sys.executable]
    if "TORCHELASTIC_RUN_ID" in os.environ:
        processes = f"--nproc_per_node={os.environ['LOCAL_WORLD_SIZE']}"
        launcher += ["-m", "torch.distributed.run", "--standalone", processes]
    return f"cd {shlex.quote(os.getcwd())} && {shlex.join([*launcher, *kept])}"
