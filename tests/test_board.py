"""TensorBoard's event file: what TensorBoard reads from it, and a disk that does not take it."""

import resource
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

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


def test_tensorboard_reads_pictures_histograms_and_settings(tmp_path: Path) -> None:
    board = Board(tmp_path / "tb", purge_step=1)
    board.add({"views": torch.rand(16, 3, 32, 32), "cosines": torch.linspace(-1, 1, 101)}, 1)
    board.close()
    found = EventAccumulator(str(tmp_path / "tb")).Reload()
    (picture,), (histogram,) = found.Images("views"), found.Histograms("cosines")
    assert (picture.width, picture.height) == (8 * 32, 2 * 32)
    assert (histogram.histogram_value.min, histogram.histogram_value.max, histogram.histogram_value.num) == (-1, 1, 101)


def test_the_last_line_of_a_run_closes_its_settings(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.start({"loss": "cider", "w": 2.0, "cosine": True, "lr_decay_epochs": [3, 5], "k": None}, None, 0)
    for epoch in (1, 2):
        line = LINE | {"epoch": epoch, "step": epoch, "loss": 3.0 - epoch}
        folder.record(line, epochs=2, batches=1, end_of_epoch=True)
    folder.close()
    found = EventAccumulator(str(tmp_path / "run" / "tb")).Reload()
    assert "eta_seconds" not in found.Tags()["scalars"] and found.Scalars("loss")[-1].value == 1.0
    started = HParamsPluginData.FromString(found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content)
    settings = started.session_start_info.hparams
    assert settings.keys() == {"loss", "w", "cosine", "lr_decay_epochs"}
    assert (settings["w"].number_value, settings["lr_decay_epochs"].string_value) == (2.0, "[3, 5]")
    declared = HParamsPluginData.FromString(found.SummaryMetadata("_hparams_/experiment").plugin_data.content)
    assert {metric.name.tag for metric in declared.experiment.metric_infos} == {"loss", "lr"}


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
