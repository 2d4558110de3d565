"""Several trainings, each with its evaluation, one after the other: what is done is skipped, the rest goes on."""

import argparse
import importlib
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.data.id_records import id_set
from utils.data.ood_table import find_ood_set, full_ood_name
from utils.errors import UserError
from utils.files import REPOSITORY, file_sha256, read_json


@dataclass(frozen=True)
class Step:
    """A training and the evaluation of what it leaves.

    Attributes:
        label: as it is shown.
        train: script and options.
        checkpoint: what is there once the training is finished.
        evaluate: options of eval_cider.py, beside those that say of what and where.
        out: folder of the evaluation.
        settings: what metrics.json must state under "settings" for the evaluation to be this one.
        there: OOD sets that are on disk: an evaluation that missed one of them is done again.
        args: of the training, as its script reads them.
    """

    label: str
    train: Sequence[str]
    checkpoint: Path
    evaluate: Sequence[str]
    out: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    there: frozenset[str] = frozenset()
    args: argparse.Namespace | None = None

    @property
    def metrics(self) -> Path:
        """What the evaluation leaves."""
        return self.out / "metrics.json"

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
        where = ["--ckpt", str(self.checkpoint), "--out", str(self.out), "--overwrite"]
        evaluate = ["eval_cider.py", *where, *self.evaluate]
        if not self.checkpoint.is_file():
            return [list(self.train), evaluate]
        return [] if self.is_evaluated() else [evaluate]


def make_step(
    label: str,
    script: str,
    options: Sequence[str],
    scores: Sequence[str],
    *,
    ood_sets: Sequence[str] | None = None,
    ood_loc: Path | None = None,
    scored: Path | None = None,
    out: str = "",
    plots: bool = False,
    args: argparse.Namespace | None = None,
) -> Step:
    """The step of a training.

    Args:
        script: such as "train_cider".    scores, ood_sets, ood_loc, scored, plots: of the evaluation.
        out: its folder below that of the run; "" for the usual one.
        args: checkpoints, in_dataset, name, epochs and device; None where the script itself is to read its options.
    """
    from utils.cli.device import choose_device
    from utils.data.ood_sets import sets_there  # brings PyTorch along, which a --help need not wait for

    if args is None:
        of_script = importlib.import_module(f"utils.cli.{script.removeprefix('train_')}")
        args = of_script.parse_arguments(command_line=list(options))
        args.device = choose_device(args)
    folder = args.checkpoints / args.in_dataset / args.name
    places = {"--ood-loc": ood_loc, "--scored": scored}
    evaluate = ["--score", *scores, *(["--ood-sets", *ood_sets] if ood_sets else [])]
    evaluate += [text for flag, path in places.items() if path for text in (flag, str(path))]
    return Step(
        label=label,
        train=[f"{script}.py", *options],
        checkpoint=folder / f"checkpoint_{args.epochs}.pth.tar",
        evaluate=[*evaluate, "--device", str(args.device), *([] if plots else ["--no-plots"])],
        out=folder / (out or f"eval_{args.epochs}"),
        settings={
            "score": list(scores),
            "ood_sets": ood_sets and list(ood_sets),
            "ood_loc": ood_loc and str(ood_loc),
            "scored": scored and str(scored),
        },
        there=frozenset() if ood_sets else sets_there(args.in_dataset, ood_loc),
        args=args,
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """What all plans of trainings with --ood-sets take."""
    parser.add_argument(
        "--ood_loc", type=Path, metavar="PATH", help="of the evaluation: folder that holds the OOD sets"
    )
    parser.add_argument(
        "--ood-sets",
        type=full_ood_name,
        nargs="+",
        metavar="SET",
        help="of the evaluation: names, or NAME=PATH (default: the usual ones)",
    )
    parser.add_argument("--dry-run", action="store_true", help="print what is still to be done, and do nothing")


def split_options(command_line: Sequence[str]) -> tuple[list[str], list[str]]:
    """Options of a plan, and those behind `--`, which are for the train scripts."""
    cut = command_line.index("--") if "--" in command_line else len(command_line)
    return list(command_line[:cut]), list(command_line[cut + 1 :])


def refuse(parser: argparse.ArgumentParser, passed_on: Sequence[str], flags: Sequence[str]) -> None:
    """End with status 2 where options for the train scripts are among those that the plan sets for each run."""
    for option in (text.partition("=")[0] for text in passed_on):
        if option.replace("_", "-") in [flag.replace("_", "-") for flag in flags]:
            parser.error(f"{option} behind -- is set for each run by the plan itself; see its own options")


def carry_out(steps: Sequence[Step], *, dry_run: bool) -> bool:
    """Do what of the steps is not done; True when all of them are then done.

    Args:
        dry_run: print the commands, and which data is missing for them, and do nothing.
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
    if not complete:
        for line in missing_data([step for step in steps if step.commands()]):
            print(line)
    return complete


def missing_data(steps: Sequence[Step]) -> list[str]:
    """What is not on disk of the ID sets and the usual OOD sets of some steps, in lines."""
    from utils.data.id_sets import load_id

    found = []
    for name, place in dict.fromkeys((step.args.in_dataset, step.args.id_loc) for step in steps if step.args):
        try:
            load_id(name, place)
        except UserError as error:
            found.append(f"missing: {error}")
    for step in steps:
        if step.args and not step.settings.get("ood_sets"):
            wanted = [name for name in id_set(step.args.in_dataset).ood if find_ood_set(name).folders]
            if absent := [name for name in wanted if name not in step.there]:
                found.append(f"missing OOD sets: {', '.join(absent)} (python scripts/prepare_data.py --list)")
    return list(dict.fromkeys(found))


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
