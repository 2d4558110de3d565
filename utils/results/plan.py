"""Several trainings, each with its evaluation, one after the other: what is done is skipped, the rest goes on."""

import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.files import REPOSITORY, file_sha256, read_json


@dataclass(frozen=True)
class Step:
    """A training and the evaluation of what it leaves.

    Attributes:
        label: as it is shown.
        train: script and options.
        checkpoint: what is there once the training is finished.
        evaluate: options of eval_cider.py, beside --ckpt and --out.
        out: folder of the evaluation.
        settings: what metrics.json must state under "settings" for the evaluation to be this one.
        there: OOD sets that are on disk: an evaluation that missed one of them is done again.
    """

    label: str
    train: Sequence[str]
    checkpoint: Path
    evaluate: Sequence[str]
    out: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    there: frozenset[str] = frozenset()

    @property
    def metrics(self) -> Path:
        """What the evaluation leaves."""
        return self.out / "metrics.json"

    def is_trained(self) -> bool:
        """Whether the training has come to its end."""
        return self.checkpoint.is_file()

    def is_evaluated(self) -> bool:
        """Whether this checkpoint, by its hash, has been evaluated with these settings."""
        try:
            found = read_json(self.metrics)
            stated = found["settings"]
            same = all(stated.get(name) == value for name, value in self.settings.items())
            same &= self.there.isdisjoint(found.get("missing", ()))
            return same and found["checkpoint"]["sha256"] == file_sha256(self.checkpoint)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False

    def commands(self) -> list[list[str]]:
        """What is still to be done, as command lines; none where all is done."""
        evaluate = [
            "eval_cider.py",
            "--ckpt",
            str(self.checkpoint),
            "--out",
            str(self.out),
            "--overwrite",
            *self.evaluate,
        ]
        if not self.is_trained():
            return [list(self.train), evaluate]
        return [] if self.is_evaluated() else [evaluate]


def carry_out(steps: Sequence[Step], *, dry_run: bool) -> bool:
    """Do what of the steps is not done; True when all of them are then done.

    Args:
        dry_run: print the commands and do nothing.
    Raises:
        UserError: a command failed. The same call again goes on there.
    """
    complete = True
    for number, step in enumerate(steps, 1):
        commands = step.commands()
        done = "" if commands else f": done, {step.out}"
        print(f"[{number}/{len(steps)}] {step.label}{done}", flush=True)
        for command in commands:
            print(f"    {shlex.join(['python', *command])}", flush=True)
            if not dry_run:
                _run(command)
        complete &= not (commands and dry_run)
    return complete


def _run(command: Sequence[str]) -> None:
    script, *options = command
    process = subprocess.Popen([sys.executable, str(REPOSITORY / script), *options])
    # Who ends this process means the training, too, which then saves its state.
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        status = process.wait()
    except KeyboardInterrupt:
        process.wait()  # Ctrl-C has reached it as well
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
    if status:
        raise UserError(
            f"status {status} of: {shlex.join(['python', *command])}\n"
            "  do         : mend what it says above, and give the same command again; what is done is not done anew"
        )
