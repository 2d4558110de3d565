"""Bootstrap intervals against metrics of explicitly drawn resamples."""

import numpy as np
import pytest

from utils.evaluation import bootstrap
from utils.evaluation.bootstrap import bootstrap_metrics, interval
from utils.evaluation.metrics import metrics_of_counts, ood_metrics
from utils.evaluation.tables import Mean, Row


def made(seed, count, shift=0.0, levels=None):
    scores = np.random.default_rng(seed).normal(shift, 1, count)
    return scores if levels is None else np.round(scores * levels) / levels


@pytest.mark.parametrize("positive", ["ID", "OOD"])
@pytest.mark.parametrize("levels", [None, 2])
def test_metrics_of_counts_are_those_of_repeated_scores(positive, levels):
    id_scores, ood_scores = made(0, 30, 1, levels), made(1, 40, 0, levels)
    values = np.unique(np.concatenate([id_scores, ood_scores]))[::-1]
    random = np.random.default_rng(2)
    draws = [(random.choice(id_scores, 30), random.choice(ood_scores, 40)) for _ in range(20)]
    ids, oods = (np.array([[(drawn[side] == v).sum() for v in values] for drawn in draws]) for side in (0, 1))
    found = metrics_of_counts(ids, oods, positive)
    for row, (drawn_id, drawn_ood) in enumerate(draws):
        expected = ood_metrics(drawn_id, drawn_ood, positive=positive)
        assert {name: values[row] for name, values in found.items()} == pytest.approx(expected)


def test_same_seed_same_draws_however_many_at_once(monkeypatch):
    id_scores, sets = made(0, 50, 1), {"a": made(1, 60), "b": made(2, 70)}
    found = bootstrap_metrics(id_scores, sets, resamples=40, seed=3)
    monkeypatch.setattr(bootstrap, "DRAWN_AT_ONCE", 1)
    again = bootstrap_metrics(id_scores, {"b": sets["b"]}, resamples=40, seed=3)
    assert all((found["b"][metric] == again["b"][metric]).all() for metric in again["b"])
    other = bootstrap_metrics(id_scores, sets, resamples=40, seed=4)
    assert (found["a"]["auroc"] != other["a"]["auroc"]).any()


def test_interval_is_as_wide_as_theory_says():
    id_scores, ood_scores = made(0, 1000, 1), made(1, 1000)
    samples = bootstrap_metrics(id_scores, {"x": ood_scores}, resamples=500)["x"]["auroc"]
    # DeLong's variance of AUROC, from the share of the other side that each image beats.
    wins = (id_scores[:, None] > ood_scores).astype(float)
    deviation = np.sqrt(wins.mean(1).var() / 1000 + wins.mean(0).var() / 1000)
    assert samples.std() == pytest.approx(deviation, rel=0.15)
    low, high = interval(samples)
    assert low < wins.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * deviation, rel=0.2)


def test_sets_share_their_id_images_so_that_means_can_be_taken():
    id_scores, ood_scores = made(0, 200, 1), made(1, 20_000)
    found = bootstrap_metrics(id_scores, {"a": ood_scores, "b": ood_scores}, resamples=100)
    assert np.corrcoef(found["a"]["auroc"], found["b"]["auroc"])[0, 1] > 0.9
    metrics = ood_metrics(id_scores, ood_scores)
    mean = Mean("mean", "mean (2)", [Row(name, 1, metrics, True, samples=found[name]) for name in ("a", "b")])
    np.testing.assert_allclose(mean.samples["auroc"], (found["a"]["auroc"] + found["b"]["auroc"]) / 2)


def test_broken_scores_are_refused():
    with pytest.raises(ValueError, match="1 of 3 OOD scores are not finite"):
        bootstrap_metrics(made(0, 3), {"x": np.array([0, np.nan, 1])}, resamples=2)
