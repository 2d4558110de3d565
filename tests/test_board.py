"""TensorBoard's event file: what TensorBoard reads from it, and a disk that does not take it."""

import resource
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from utils.errors import UserError
from utils.training.board import Board
from utils.training.run_folder import RunFolder

LINE = {"epoch": 1, "batch": 1, "loss": 1.0, "lr": 0.1, "images_per_second": 9.0, "eta_seconds": 0, "memory_gb": None}


def test_tensorboard_reads_the_curves_and_forgets_what_an_interrupted_run_left(tmp_path: Path) -> None:
    first = Board(tmp_path / "tb", purge_step=1)
    for step in (1, 2, 3):
        first.add({"loss": step / 2, "lr": 0.1}, step)
    first.close()
    again = Board(tmp_path / "tb", purge_step=3)
    again.add({"loss": 9.0}, 3)
    again.close()
    found = EventAccumulator(str(tmp_path / "tb")).Reload()
    assert [(event.step, event.value) for event in found.Scalars("loss")] == [(1, 0.5), (2, 1.0), (3, 9.0)]
    assert [event.step for event in found.Scalars("lr")] == [1, 2]


def test_a_full_disk_is_one_clear_line(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.start({}, None, 0)
    (board,) = (tmp_path / "run" / "tb").iterdir()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (board.stat().st_size + 20, before[1]))
    try:
        with pytest.raises(UserError, match="can not be written: File too large"):
            for step in range(1, 9):
                folder.record(LINE | {"step": step}, epochs=1, batches=8, end_of_epoch=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert capfd.readouterr().err == ""
