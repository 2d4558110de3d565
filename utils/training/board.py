"""TensorBoard's event file, written by the thread that trains.

TensorBoard's own writer has a thread for it, which meets a full disk alone and prints a traceback of its own.
"""

import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from torch import Tensor
from torch.utils.tensorboard import summary

VERSION = "brain.Event:2"  # of the format
BINS = 60


class Board:
    """Curves and pictures of one run, in a new file in `folder`. Every method raises OSError where the disk is full.

    Args:
        purge_step: what is from this step on, left by an interrupted run, vanishes.
    """

    def __init__(self, folder: Path, purge_step: int) -> None:
        folder.mkdir(exist_ok=True)
        name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}"
        self._file = open(folder / name, "ab")
        self._records = RecordWriter(self._file)
        self._write(file_version=VERSION)
        self._write(step=purge_step, session_log=SessionLog(status=SessionLog.START))

    def add(self, values: Mapping[str, float | Tensor], step: int) -> None:
        """A point of a curve for a number, a row of pictures for images (N, 3, H, W) on 0..1, else a histogram."""
        for name, value in values.items():
            if not isinstance(value, Tensor):
                content = Summary(value=[Summary.Value(tag=name, simple_value=value)])
            elif value.dim() == 4:
                content = summary.image(name, value, dataformats="NCHW")
            else:
                content = summary.histogram(name, value.numpy(), BINS)
            self._write(step=step, summary=content)

    def add_settings(self, settings: Mapping[str, Any], figures: Mapping[str, float], step: int) -> None:
        """What the page HParams compares runs by: the settings of this one, and the curves that end in `figures`."""
        plain = {name: value for name, value in settings.items() if isinstance(value, bool | int | float | str)}
        lists = {name: json.dumps(value) for name, value in settings.items() if isinstance(value, list | tuple)}
        for content in summary.hparams(plain | lists, dict(figures)):
            self._write(step=step, summary=content)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, **content: object) -> None:
        self._records.write(Event(wall_time=time.time(), **content).SerializeToString())
        self._file.flush()
