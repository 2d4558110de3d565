"""The learning rate against the official values, and the default ramp against what it promises."""

import json
import math

import pytest

from tests.golden_rules import GOLDEN
from utils.training.schedule import learning_rate

OFFICIAL = json.loads((GOLDEN / "reference_schedule.json").read_text())
BATCHES = 98


def settings(**changes: object) -> dict:
    return {
        "base_lr": 0.5, "epochs": 100, "cosine": True, "decay_epochs": (60, 80), "decay_rate": 0.1, "warmup": "linear",
    } | changes  # fmt: skip


def official_settings(case: dict) -> dict:
    return {
        "base_lr": case["learning_rate"],
        "epochs": case["epochs"],
        "cosine": case["cosine"],
        "decay_epochs": case["lr_decay_epochs"],
        "decay_rate": case["lr_decay_rate"],
    }


@pytest.mark.parametrize("case", OFFICIAL)
def test_reference_equals_the_official_schedule(case: dict) -> None:
    warmup = "reference" if case["batch_size"] > 256 else "none"
    for epoch, batch, expected in case["epoch_batch_lr"]:
        rate = learning_rate(epoch, batch, case["batches_per_epoch"], warmup=warmup, **official_settings(case))
        assert rate == pytest.approx(expected, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("case", OFFICIAL)
def test_linear_is_the_reference_ramp_one_epoch_earlier(case: dict) -> None:
    for epoch in range(10):
        for batch in (0, 49, 97):
            ours = learning_rate(epoch, batch, BATCHES, warmup="linear", **official_settings(case))
            theirs = learning_rate(epoch + 1, batch, BATCHES, warmup="reference", **official_settings(case))
            assert ours == pytest.approx(theirs, rel=1e-12)
            assert ours > 0


@pytest.mark.parametrize("warmup_epochs", [1, 3, 10, 99])
def test_linear_runs_into_the_cosine_without_a_jump(warmup_epochs: int) -> None:
    kwargs = settings(warmup_epochs=warmup_epochs)
    assert learning_rate(0, 0, BATCHES, **kwargs) == pytest.approx(0.001)
    last, after = (learning_rate(*step, BATCHES, **kwargs) for step in [(warmup_epochs - 1, 97), (warmup_epochs, 0)])
    assert after == learning_rate(warmup_epochs, 0, BATCHES, **settings(warmup="none"))
    assert abs(after - last) == pytest.approx(abs(after - 0.001) / (warmup_epochs * BATCHES))


@pytest.mark.parametrize("cosine", [True, False])
@pytest.mark.parametrize("epochs", [1, 2, 5, 9])
def test_warmup_longer_than_the_run_still_climbs(epochs: int, cosine: bool) -> None:
    kwargs = settings(epochs=epochs, cosine=cosine)
    rates = [learning_rate(e, b, BATCHES, **kwargs) for e in range(epochs) for b in range(BATCHES)]
    assert all(0 < a < b for a, b in zip(rates, rates[1:], strict=False))
    assert rates[-1] == pytest.approx(0.5 * epochs / 10, rel=0.02)


def test_cosine_without_warmup() -> None:
    kwargs = settings(warmup="none")
    assert learning_rate(0, 0, BATCHES, **kwargs) == 0.5
    assert learning_rate(50, 7, BATCHES, **kwargs) == pytest.approx(0.0005 + 0.4995 / 2)
    assert learning_rate(99, 97, BATCHES, **kwargs) == pytest.approx(
        0.0005 + 0.4995 * (1 + math.cos(0.99 * math.pi)) / 2
    )
    assert learning_rate(3, 5, BATCHES, **settings(warmup_epochs=0)) == learning_rate(3, 5, BATCHES, **kwargs)


def test_steps_take_effect_after_their_epoch() -> None:
    kwargs = settings(cosine=False, warmup="none")
    rates = {epoch: learning_rate(epoch, 0, BATCHES, **kwargs) for epoch in (0, 60, 61, 80, 81, 99)}
    assert rates == pytest.approx({0: 0.5, 60: 0.5, 61: 0.05, 80: 0.05, 81: 0.005, 99: 0.005})
    ramp = [learning_rate(e, 0, BATCHES, **settings(cosine=False)) for e in (0, 5, 10)]
    assert ramp == pytest.approx([0.001, 0.2505, 0.5])


def test_unknown_warmup_is_refused() -> None:
    with pytest.raises(ValueError, match="choose from linear, reference, none"):
        learning_rate(0, 0, BATCHES, **settings(warmup="cosine"))


def test_the_cosine_of_vos_changes_with_every_batch_and_ends_where_it_is_told() -> None:
    vos = settings(base_lr=0.1, warmup="none", cosine_to=1e-6)
    rates = [learning_rate(epoch, batch, BATCHES, **vos) for epoch in range(100) for batch in range(BATCHES)]
    steps = 100 * BATCHES
    expected = [1e-6 + (0.1 - 1e-6) * (1 + math.cos(math.pi * step / steps)) / 2 for step in range(steps)]
    assert rates == pytest.approx(expected, rel=1e-9)
    assert rates[-1] == pytest.approx(1e-6, rel=0.01)  # no collapse below it
