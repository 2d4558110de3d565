"""Running means against plain sums, the first bad step, and that none of it looks at the device before it is asked."""

import json
import math
from types import SimpleNamespace

import pytest
import torch

from tests.training_runs import folder, run
from utils.training import meter
from utils.training.loop import Training
from utils.training.meter import LossMeter, Rate
from utils.training.run import Run


def losses(value, other=1.0):
    return {"loss": torch.tensor(value, requires_grad=True), "loss/other": torch.tensor(other)}


def test_means_over_intervals_and_epochs():
    draw = torch.Generator().manual_seed(0)
    values = torch.rand(2, 7, generator=draw).tolist()
    meter = LossMeter()
    for epoch in range(2):
        for step, value in enumerate(values[epoch]):
            meter.add(losses(value, other=-value), step)
            if step == 2:
                interval = meter.end_interval()
                assert interval["loss"] == pytest.approx(math.fsum(values[epoch][:3]) / 3)
                assert interval["loss/other"] == -interval["loss"]
        assert meter.end_epoch()["loss"] == pytest.approx(math.fsum(values[epoch]) / 7)
    assert meter.first_bad() is None


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_the_first_bad_step_is_kept(bad):
    meter = LossMeter()
    for step, value in enumerate([1.0, 2.0, bad, math.nan, 3.0]):
        meter.add(losses(value, other=5.0 + step), step)
    step, found = meter.first_bad()
    assert step == 2
    assert found["loss"] == pytest.approx(bad, nan_ok=True) and found["loss/other"] == 7.0


def test_a_bad_loss_beside_the_total_counts():
    meter = LossMeter()
    meter.add(losses(1.0, other=math.nan), 4)
    assert meter.first_bad()[0] == 4


def test_a_restored_meter_goes_on_with_the_same_sums():
    whole, first, second = LossMeter(), LossMeter(), LossMeter()
    values = [0.1, 0.7, 1.3, 2.9, 0.2]
    for step, value in enumerate(values):
        whole.add(losses(value), step)
        (first if step < 3 else second).add(losses(value), step)
        if step == 1:
            whole.end_interval()
            first.end_interval()
        if step == 2:
            second.load_state_dict(first.state_dict())
    assert second.end_interval() == whole.end_interval()
    assert second.end_epoch() == whole.end_epoch()


def test_adding_reads_nothing_from_the_device():
    # A meta tensor has no values, so that any look at one raises.
    meter = LossMeter()
    for step in range(3):
        meter.add({"loss": torch.zeros((), device="meta")}, step)
    with pytest.raises(RuntimeError, match="meta"):
        meter.first_bad()


def test_rate():
    rate = Rate()
    rate.add(30)
    rate.add(20)
    per_second = rate.read()
    assert per_second > 0
    # The two figures are of the same time: 50 images in 2 batches.
    assert per_second * rate.seconds_per_batch == pytest.approx(25)
    before = rate.seconds_per_batch
    assert rate.read() is None and rate.seconds_per_batch == before


def tell_time_by_batches() -> None:
    """A batch takes a second, and what ends an epoch a hundred."""
    seconds, run_batch, end_epoch = 0, Training._run_batch, Run.end_epoch

    def running(self, batch):
        nonlocal seconds
        seconds += 1
        run_batch(self, batch)

    def ending(self, *position):
        nonlocal seconds
        seconds += 100
        return end_epoch(self, *position)

    Training._run_batch, Run.end_epoch = running, ending
    meter.time = SimpleNamespace(monotonic=lambda: seconds)


def test_the_log_has_images_not_views_a_second_and_leaves_out_what_ends_an_epoch(tmp_path):
    assert run(tmp_path, fault=tell_time_by_batches).status == 0
    lines = [json.loads(line) for line in (folder(tmp_path) / "log.jsonl").read_text().splitlines()]
    assert [line["images_per_second"] for line in lines] == [16, 14] * 4  # of 60 images in batches of 16
    assert [line["eta_seconds"] for line in lines] == [14, 12, 10, 8, 6, 4, 2, 0]
