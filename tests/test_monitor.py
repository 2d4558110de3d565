"""What is watched during a training: geometry against explicit loops, and one warning for each way to fail."""

import math

import pytest
import torch
from torch.nn import functional as F

from utils.prototypes import EMAPrototypes
from utils.training.monitor import HeadMonitor

NAMES = ("cat", "dog", "ship", "truck")


def at(rows):
    """Prototypes that stand at these rows."""
    prototypes = EMAPrototypes(*rows.shape, 0.9)
    prototypes.start_at(rows)
    return prototypes


def explicit_geometry(prototypes):
    cosines = [
        sum(float(a) * float(b) for a, b in zip(prototypes[i], prototypes[j], strict=True))
        for i in range(len(prototypes))
        for j in range(len(prototypes))
        if i < j
    ]
    return math.degrees(math.acos(sum(cosines) / len(cosines))), max(cosines)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_geometry_is_that_of_explicit_loops(count):
    prototypes = F.normalize(torch.randn(count, 5, generator=torch.Generator().manual_seed(count)), dim=1)
    line = HeadMonitor(at(prototypes), NAMES[:count]).describe(
        {"loss": 1.0, "cosine/own-prototype": 0.5, "cosine/pairs": 0.2}, 1
    )
    dispersion, closest = explicit_geometry(prototypes.double())
    assert line["head/dispersion"] == pytest.approx(dispersion, abs=1e-5)
    assert line["head/closest-pair"] == pytest.approx(closest, abs=1e-6)
    assert line["head/compactness"] == pytest.approx(60)
    assert line["loss"] == 1.0
    assert not any(name.startswith("cosine/") for name in line)


def test_rounding_beyond_one_is_no_error():
    line = HeadMonitor(at(torch.ones(2, 1)), NAMES[:2]).describe({"cosine/own-prototype": 1 + 1e-9}, 0)
    assert line["head/compactness"] == line["head/dispersion"] == 0


def test_collapse_is_warned_of_once(capsys):
    monitor = HeadMonitor()
    monitor.describe({"loss": 1.0, "cosine/pairs": 0.98}, 1)
    monitor.describe({"loss": 1.0}, 2)
    assert capsys.readouterr().err == ""
    for step in (3, 4):
        assert monitor.describe({"loss": 1.0, "cosine/pairs": 0.995}, step) == {"loss": 1.0}
    warned = capsys.readouterr()
    assert warned.out == ""
    assert warned.err.count("warning:") == 1
    assert "almost one point (mean cosine 0.9950)" in warned.err and "Try another --seed" in warned.err


def test_the_advice_leaves_out_what_was_set_already(capsys):
    HeadMonitor(trained_with={"loss": "cider", "prototype_init": "simplex"}).describe({"cosine/pairs": 0.995}, 1)
    HeadMonitor(trained_with={"loss": "supcon", "prototype_init": "class-means"}).describe({"cosine/pairs": 0.995}, 1)
    first, second = capsys.readouterr().err.splitlines()
    assert "simplex" not in first and "--loss supcon" in first
    assert "simplex" not in second and "--loss supcon" not in second


def turned(*degrees):
    angles = torch.tensor(degrees).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], 1)


def test_a_shared_prototype_is_named_after_the_warm_up(capsys):
    monitor = HeadMonitor(at(turned(0, 90, 180, 20)), NAMES, warmup_epochs=10)
    assert monitor.describe({}, 10)["head/closest-pair"] == pytest.approx(math.cos(math.radians(20)))
    assert capsys.readouterr().err == ""
    monitor.describe({}, 11)
    monitor.describe({}, 12)
    warned = capsys.readouterr().err
    assert warned.count("warning:") == 1
    assert "cat and truck (cosine 0.940)" in warned
    assert "dog" not in warned and "--seed" in warned


def test_every_pair_above_the_limit_is_named_closest_first(capsys):
    HeadMonitor(at(turned(0, 90, 10, 94)), NAMES).describe({}, 1)
    warned = capsys.readouterr().err
    assert "dog and truck (cosine 0.998), cat and ship (cosine 0.985)." in warned


@pytest.mark.parametrize("degrees, warns", [(25, True), (26, False)])
def test_the_limit_is_a_cosine_of_nine_tenths(capsys, degrees, warns):
    HeadMonitor(at(turned(0, degrees, 180)), NAMES[:3]).describe({}, 1)
    assert bool(capsys.readouterr().err) == warns


def test_no_prototypes_no_geometry():
    assert HeadMonitor().describe({"loss": 2.0, "cosine/pairs": 0.1}, 5) == {"loss": 2.0}
