"""The folder of one run: arguments, environment, log, summary, TensorBoard, checkpoints, and the console line."""

import csv
import errno
import fcntl
import json
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor
from tqdm import tqdm

from utils.errors import UserError
from utils.files import atomic_write
from utils.training.board import Board

# Fields of a log line that differ between two runs with the same arguments.
TIME_FIELDS = ("images_per_second", "eta_seconds", "memory_gb")


class RunFolder:
    """Writes what a training run leaves behind; made on the main process only.

    log.jsonl has a line per console line, summary.csv a row per epoch (means over the epoch). A disk that is full or
    refuses a file is a UserError.
    """

    def __init__(self, path: Path):
        self.path = path
        self.last = path / "last.pt"
        self.previous = path / "previous.pt"
        self._log = path / "log.jsonl"
        self._summary = path / "summary.csv"
        self._lock: IO | None = None
        self._board: Board | None = None
        self._args: Mapping[str, Any] = {}

    def checkpoint(self, epoch: int) -> Path:
        """Path of the official-format checkpoint of `epoch`."""
        return self.path / f"checkpoint_{epoch}.pth.tar"

    def lock(self) -> None:
        """Keep the folder for this process until `close` or its end, however that comes.

        Raises:
            UserError: another process trains in this folder, or the folder can not be written.
        """
        with self.disk_errors():
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.path / ".lock", "a", encoding="utf-8")
        try:
            # A record lock: loader processes do not inherit it, so it ends with this process even if it is killed.
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                return  # a file system without locks
            raise UserError(
                f"{self.path} is in use: another process trains in it.\n"
                "  wait for it, or give this run a --name or --trial of its own"
            ) from None

    def start(self, args: Mapping[str, Any], logs: Mapping[str, str] | None, step: int) -> None:
        """Write args.yaml and env.json, and make the logs those of the resumed state; tidy up behind killed processes.

        Args:
            logs: what `logs()` said when the resumed state was saved; None for a new run, whose folder then holds no
                state of an older one.
            step: steps done so far; later points of an interrupted run vanish from TensorBoard.
        """
        self._args = args
        with self.disk_errors():
            if logs is None:
                self.last.unlink(missing_ok=True)
                self.previous.unlink(missing_ok=True)
            with atomic_write(self.path / "args.yaml", "w") as stream:
                # JSON values are YAML values, so no YAML library is needed.
                stream.writelines(f"{key}: {json.dumps(value, default=str)}\n" for key, value in sorted(args.items()))
            with atomic_write(self.path / "env.json", "w") as stream:
                json.dump(environment(), stream, indent=2)
            for file in (self._log, self._summary):
                with atomic_write(file) as stream:
                    stream.write((logs or {}).get(file.name, "").encode())
            self._board = Board(self.path / "tb", purge_step=step + 1)

    def logs(self) -> dict[str, str]:
        """The logs so far, to be saved with the state of the training."""
        return {file.name: file.read_bytes().decode() for file in (self._log, self._summary)}

    def record(self, line: Mapping[str, Any], *, epochs: int, batches: int, end_of_epoch: bool) -> None:
        """One line to the console, the log and TensorBoard, and to the summary where it ends an epoch."""
        with self.disk_errors():
            with open(self._log, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")
            if end_of_epoch:
                self._add_summary_row(line)
            apart = {"epoch", "batch", "step", "eta_seconds"}
            curves = {name: value for name, value in line.items() if name not in apart and value is not None}
            self._board.add(curves, line["step"])
            if end_of_epoch and line["epoch"] == epochs:
                figures = {name: value for name, value in curves.items() if name not in TIME_FIELDS}
                self._board.add_settings(self._args, figures, line["step"])
        tqdm.write(console_line(line, epochs, batches), file=sys.stdout)
        sys.stdout.flush()

    def illustrate(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Pictures and histograms for TensorBoard, see `Board.add`."""
        with self.disk_errors():
            self._board.add(tensors, step)

    def _add_summary_row(self, line: Mapping[str, Any]) -> None:
        """Append a row; columns that come up later than the first row are in the log only."""
        row = {name: value for name, value in line.items() if name not in ("batch", *TIME_FIELDS)}
        with open(self._summary, "a+", encoding="utf-8", newline="") as stream:
            stream.seek(0)
            columns = next(csv.reader(stream), None)
            writer = csv.DictWriter(stream, columns or list(row), extrasaction="ignore", restval="")
            if columns is None:
                writer.writeheader()
            writer.writerow(row)

    def close(self) -> None:
        """Flush and close TensorBoard, and give the folder free."""
        with self.disk_errors():
            if self._board is not None:
                self._board.close()
        if self._lock is not None:
            self._lock.close()

    @contextmanager
    def disk_errors(self) -> Iterator[None]:
        """Context in which an OSError is a UserError about this folder."""
        try:
            yield
        except OSError as error:
            kept = f"; the state saved before is in {self.last}" if self.last.exists() else ""
            raise UserError(f"{self.path} can not be written: {error.strerror or error}{kept}") from error


def console_line(line: Mapping[str, Any], epochs: int, batches: int) -> str:
    """The fixed-width line of the console: epoch, batch, losses, learning rate, images/s, time left, memory."""
    speed = "compiling"
    if line["images_per_second"] is not None:
        minutes, seconds = divmod(int(line["eta_seconds"] or 0), 60)
        speed = f"{line['images_per_second']:7,.0f} img/s  left {minutes // 60:3d}:{minutes % 60:02d}:{seconds:02d}"
    figures = {name: value for name, value in line.items() if name.startswith(("id/", "choice/")) and value is not None}
    parts = [
        f"epoch {line['epoch']:{len(str(epochs))}d}/{epochs}",
        f"batch {line['batch']:{len(str(batches))}d}/{batches}",
        *(f"{name.removeprefix('loss/')} {line[name]:8.4f}" for name in line if name.startswith("loss")),
        f"lr {line['lr']:9.2e}",
        speed,
        *([] if line["memory_gb"] is None else [f"{line['memory_gb']:5.1f} GB"]),
        *(f"{' '.join(re.split('[_/]', name.removeprefix('id/')))} {100 * figures[name]:.2f} %" for name in figures),
    ]
    return "  ".join(parts)


def environment() -> dict[str, Any]:
    """Versions, device and git revision of this process."""
    git = subprocess.run(
        ["git", "-C", Path(__file__).parent, "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "git": git.stdout.strip() or None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": metadata.version("torchvision"),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "cpu": platform.processor() or platform.machine(),
        "cpu_threads": torch.get_num_threads(),
    }
