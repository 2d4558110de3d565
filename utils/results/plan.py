"""Plans of many runs: trainings, and evaluations of what they leave.

What is done is skipped and what was interrupted goes on, so the same command again finishes what is left.
"""

import argparse
import importlib
import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.evaluation.benchmark import BENCHMARKS
from utils.files import REPOSITORY, file_sha256, portable, read_json

# What a plan sets for each run by itself, beside the options of its steps.
_NEVER_PASSED_ON = {"--loss", "--name", "--resume", "--trial"}


@dataclass(frozen=True)
class Step:
    """A training, and an evaluation of what it leaves.

    Attributes:
        label: as it is shown.
        train: script and options; empty where another step has the training.    args: the same as they are read.
        checkpoint: what is there once the training is finished, here or on another machine.
        evaluation: options of eval_cider.py by name, beside those that say of what and where.
        out: folder of the evaluation.
        experiment: names by which tables find its rows, separated by spaces.
    """

    label: str
    train: Sequence[str]
    args: argparse.Namespace
    checkpoint: Path
    evaluation: Mapping[str, Any]
    out: Path
    experiment: str = ""

    @property
    def metrics(self) -> Path:
        """What the evaluation leaves."""
        return self.out / "metrics.json"

    def is_evaluated(self) -> bool:
        """Whether this checkpoint, by its hash, has been evaluated so, with all OOD sets that are there now."""
        try:
            found = read_json(self.metrics)
            wanted = json.loads(json.dumps(self.evaluation, default=portable))
            same = all(found["settings"].get(name) == value for name, value in wanted.items())
            same &= found["checkpoint"]["sha256"] == file_sha256(self.checkpoint)
            return same and set(found.get("missing", ())) <= set(self.absent_sets())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False

    def absent_sets(self) -> list[str]:
        """OOD sets of the benchmark that are not on disk; none where the evaluation has sets of its own."""
        from utils.data.ood_sets import absent_sets  # PyTorch, which no --help should wait for

        if self.evaluation.get("ood_sets"):
            return []
        benchmark = BENCHMARKS[self.evaluation["benchmark"]]
        names = [benchmark.files.get(name, name) for name in benchmark.sets(self.args.in_dataset)]
        root, whole = self.evaluation.get("ood_loc"), bool(benchmark.lists)
        return absent_sets(names, self.args.in_dataset, root, whole=whole)

    def commands(self) -> list[list[str]]:
        """What is still to be done, as command lines."""
        train = [list(self.train)] if self.train and not self.checkpoint.is_file() else []
        device = {name: getattr(self.args, name, None) for name in ("device", "gpu")}
        options = {"ckpt": self.checkpoint, "out": self.out, **device, **self.evaluation}
        evaluate = ["eval_cider.py", "--overwrite", "--no-plots"]
        for name, value in options.items():
            if value is not None:
                evaluate += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
        return [*train, *([] if self.is_evaluated() else [evaluate])]


def make_step(
    args: argparse.Namespace,
    label: str,
    script: str,
    options: Sequence[str],
    scores: Sequence[str],
    experiment: str = "",
) -> Step:
    """The step of a training, evaluated on the sets of CIDER's paper or those of the plan's options.

    Args:
        args: of the plan.    script: such as "train_cider".
        options: of the training; none of them may be among those that are passed on to all.
    """
    flags = {text.replace("_", "-") for text in options if text.startswith("--")} | _NEVER_PASSED_ON
    for text in args.passed_on:
        if (flag := text.partition("=")[0].replace("_", "-")) in flags:
            args.error(f"{flag} behind -- is set for each run by the plan itself; see its own options")
    options = [*options, *args.passed_on]
    of_run = parse_training(script, options)
    folder = of_run.checkpoints / of_run.in_dataset / of_run.name
    return Step(
        label=label,
        train=[f"{script}.py", *options],
        args=of_run,
        checkpoint=folder / f"checkpoint_{of_run.epochs}.pth.tar",
        evaluation=dict(score=list(scores), benchmark="cider", ood_loc=args.ood_loc, ood_sets=args.ood_sets),
        # Not the usual one, where an evaluation of the user's own would be replaced.
        out=folder / f"eval_{of_run.epochs}_plan",
        experiment=experiment,
    )


def parse_training(script: str, options: Sequence[str]) -> argparse.Namespace:
    """The arguments of a train script; of the last stage where it has two."""
    of_script = importlib.import_module(f"utils.cli.{script.removeprefix('train_')}")
    args = of_script.parse_arguments(command_line=options)
    return args[0] if isinstance(args, tuple) else args


def carry_out(steps: Sequence[Step], *, dry_run: bool) -> bool:
    """Do what of the steps is not done; True when all of them are then done.

    Args:
        dry_run: print the commands, and which data is missing for them, and do nothing.
    """
    left = []
    for number, step in enumerate(steps, 1):
        commands = step.commands()
        done = "" if commands else f": done, {step.out}"
        print(f"[{number}/{len(steps)}] {step.label}{done}", flush=True)
        for command in commands:
            print(f"    {shlex.join(['python', *command])}", flush=True)
            if not dry_run:
                _run(command)
        left += [step] if commands and dry_run else []
    _print_missing(left)
    return not left


def _print_missing(steps: Sequence[Step]) -> None:
    """Say what is not on disk of the ID sets and the usual OOD sets of some steps."""
    from utils.data.id_sets import load_id

    for name, place in dict.fromkeys((step.args.in_dataset, step.args.id_loc) for step in steps):
        try:
            load_id(name, place)
        except UserError as error:
            print(f"missing: {error}")
    for names in dict.fromkeys(", ".join(step.absent_sets()) for step in steps):
        if names:
            print(f"missing OOD sets: {names} (python scripts/prepare_data.py --list)")


def _run(command: Sequence[str]) -> None:
    process = subprocess.Popen([sys.executable, str(REPOSITORY / command[0]), *command[1:]])
    # Who ends this process means the training, too, which then saves its state. Ctrl-C reaches it by itself.
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        status = process.wait()
    finally:
        process.wait()
        signal.signal(signal.SIGTERM, before)
    for number in (signal.SIGINT, signal.SIGTERM):
        if status in (128 + number, -number):  # negative where there was no training yet whose state could be saved
            sys.exit(128 + number)  # as it was asked to; a training has said how it goes on
    if status:
        raise UserError(
            f"status {status} of: {shlex.join(['python', *command])}\n"
            "  do         : mend what it says above, and give the same command again; what is done is not done anew"
        )
