"""Runs train_cider.py in processes of their own, with faults to order: signals, kills, full disks.

The processes are forked from a server that has imported everything once, so that a run takes a second.
"""

import json
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from unittest import mock

import torch

import train_cider
from utils import checkpoint, files
from utils.errors import run_script
from utils.training.loop import Training
from utils.training.run_folder import TIME_FIELDS, RunFolder

SCRIPT = Path(__file__).parent.parent / "train_cider.py"
# Four epochs of four batches, the last of them smaller.
SMALL = (
    "--device cpu --width 8 --feat_dim 8 --limit-train 60 --epochs 4 --batch-size 16 --warmup-epochs 1 "
    "--eval-freq 2 --print-freq 2 --save-every 1 --prototype-init class-means --name run"
).split()
PROCESSES = multiprocessing.get_context("forkserver")
TIME_LIMIT = 60  # seconds; a run takes two

Fault = Callable[[], None]


@dataclass
class Outcome:
    """What a run ended with: its exit status (minus the signal's number where one killed it) and what it printed."""

    status: int
    out: str
    err: str


def run(checkpoints: Path, *options: str, fault: Fault | None = None) -> Outcome:
    """Run train_cider.py with SMALL and `options` on top, with `fault` prepared in its process, to its end."""
    return run_script_in_process(train_cider.main, checkpoints, SMALL, options, fault)


def run_script_in_process(
    main: Callable[[], None],
    checkpoints: Path,
    small: Sequence[str],
    options: Sequence[str],
    fault: Fault | None = None,
) -> Outcome:
    """Run a train script's `main` with the options `small` and then `options`, its runs and output in `checkpoints`."""
    checkpoints.mkdir(parents=True, exist_ok=True)
    out, err = checkpoints / "stdout.txt", checkpoints / "stderr.txt"
    command = [str(SCRIPT), *small, "--checkpoints", str(checkpoints), *options]
    process = new_process(_run_script, (main, command, out, err, fault))
    process.start()
    process.join(TIME_LIMIT)
    if process.is_alive():
        process.kill()
        raise TimeoutError(f"the run has not ended within {TIME_LIMIT} s\n{err.read_text()}")
    return Outcome(process.exitcode, out.read_text(), err.read_text())


def new_process(target: Callable, args: tuple):
    """A process that is forked from the server, not started yet."""
    PROCESSES.set_forkserver_preload(["tests.training_runs"])
    # Python before 3.13 does not tell the server where modules are.
    with mock.patch.dict(os.environ, {"PYTHONPATH": str(SCRIPT.parent)}):
        forkserver.ensure_running()
    return PROCESSES.Process(target=target, args=args)


def _run_script(main: Callable[[], None], command: list[str], out: Path, err: Path, fault: Fault | None) -> None:
    torch.set_num_threads(1)
    sys.argv = command
    with open(out, "w") as stdout, open(err, "w") as stderr, redirect_stdout(stdout), redirect_stderr(stderr):
        if fault is not None:
            fault()
        run_script(main)


def folder(checkpoints: Path) -> Path:
    """The run folder of SMALL."""
    return checkpoints / "digits" / "run"


def trained(checkpoints: Path) -> dict:
    """What SMALL has left."""
    return left_in(folder(checkpoints), 4)


def left_in(path: Path, epochs: int) -> dict:
    """All that two runs with the same arguments must have in common, flat: state, log without times, checkpoint."""
    state = checkpoint.load(path / "last.pt", checksum_required=True)
    exported = checkpoint.load(path / f"checkpoint_{epochs}.pth.tar")
    lines = [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]
    for entry in (state, exported):
        del entry["args"]
    del state["logs"]
    log = [{name: value for name, value in line.items() if name not in TIME_FIELDS} for line in lines]
    summary = (path / "summary.csv").read_text()
    return dict(flat({"state": state, "checkpoint": exported, "log": log, "summary": summary}))


def flat(tree: object, name: str = ""):
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from flat(value, f"{name}/{key}")
    elif isinstance(tree, list | tuple):
        for key, value in enumerate(tree):
            yield from flat(value, f"{name}/{key}")
    else:
        yield name, tree


def differences(one: dict, other: dict) -> list[str]:
    """Names of what is not the same to the last bit."""
    return [
        name
        for name in one.keys() | other.keys()
        if name not in one or name not in other or not _same(one[name], other[name])
    ]


def _same(one: object, other: object) -> bool:
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


# Faults: each prepares its process, before the run begins.


def signal_after_lines(number: int, lines: int) -> None:
    """Send the process a signal when it has logged so many lines."""
    record = RunFolder.record
    count = 0

    def recording(self, *args, **kwargs):
        nonlocal count
        record(self, *args, **kwargs)
        count += 1
        if count == lines:
            os.kill(os.getpid(), number)

    RunFolder.record = recording


def kill_after_events(events: int) -> None:
    """Kill the process after so many Python calls and returns, counted from the end of its first step."""
    run_batch = Training._run_batch
    remaining = events

    def count(*_):
        nonlocal remaining
        remaining -= 1
        if remaining == 0:
            _die()

    def running(self, batch):
        run_batch(self, batch)
        sys.setprofile(count)

    Training._run_batch = running


def kill_in_save(save: int, stage: str) -> None:
    """Kill the process at a stage of its save number `save` of last.pt (from 1)."""
    original, count = checkpoint.save, 0

    def saving(content, path, **kwargs):
        nonlocal count
        if path.name == "last.pt":
            count += 1
            if count == save:
                _STAGES[stage]()
        original(content, path, **kwargs)

    checkpoint.save = saving


def _die(*_) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_at_rename(name: str, after: bool) -> None:
    replace = os.replace

    def replacing(source, target):
        if Path(target).name == name and not after:
            _die()
        replace(source, target)
        if Path(target).name == name:
            _die()

    files.os.replace = replacing


def _die_within_write() -> None:
    checkpoint._checksum = _die


def _die_at_fsync() -> None:
    files.os.fsync = _die


_STAGES = {
    "within write": _die_within_write,
    "before fsync": _die_at_fsync,
    "before previous.pt": lambda: _die_at_rename("previous.pt", after=False),
    "between the renames": lambda: _die_at_rename("last.pt", after=False),
    "after the renames": lambda: _die_at_rename("last.pt", after=True),
}


def limit_file_size(size: int) -> None:
    """Let no file grow beyond `size` bytes: what a full disk looks like to a process."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def spoil_a_weight() -> None:
    """Make one weight infinite behind the first step, whose loss was finite."""
    run_batch = Training._run_batch

    def running(self, batch):
        run_batch(self, batch)
        with torch.no_grad():
            self.recipe.model.head[0].bias[0] = torch.inf

    Training._run_batch = running
