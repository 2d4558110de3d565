"""OOD metrics and embedding geometry against golden values and explicit loops."""

import math

import numpy as np
import pytest
import torch

from tests.golden_rules import GOLDEN
from utils.evaluation.metrics import (
    accuracy,
    compactness_degrees,
    dispersion_degrees,
    nearest_degrees,
    ood_metrics,
    recall_threshold,
    roc_curve,
    separability_degrees,
)


def random_scores(seed, n_id, n_ood, levels=None):
    random = np.random.default_rng(seed)
    id_scores, ood_scores = random.normal(0.7, 1, n_id), random.normal(0, 1, n_ood)
    if levels:
        id_scores, ood_scores = (np.round(scores * levels) / levels for scores in (id_scores, ood_scores))
    return id_scores, ood_scores


def loop_fpr95(id_scores, ood_scores):
    """Lower the threshold score by score until all ID are accepted; a later threshold that is as close replaces."""
    best = None
    for threshold in sorted({*id_scores, *ood_scores}, reverse=True):
        recall = sum(score >= threshold for score in id_scores) / len(id_scores)
        false_positives = sum(score >= threshold for score in ood_scores) / len(ood_scores)
        if best is None or abs(recall - 0.95) <= best[0]:
            best = (abs(recall - 0.95), false_positives)
        if recall == 1:
            break
    return best[1]


def loop_auroc(id_scores, ood_scores):
    wins = sum((a > b) + 0.5 * (a == b) for a in id_scores for b in ood_scores)
    return wins / (len(id_scores) * len(ood_scores))


def loop_average_precision(positive, negative):
    total, recall_before = 0.0, 0.0
    for threshold in sorted({*positive, *negative}, reverse=True):
        hits = sum(score >= threshold for score in positive)
        false = sum(score >= threshold for score in negative)
        total += (hits / len(positive) - recall_before) * hits / (hits + false)
        recall_before = hits / len(positive)
    return total


def test_equal_to_the_official_code():
    golden = np.load(GOLDEN / "metrics.npz")
    cases = sorted({name.split("/")[0] for name in golden.files})
    assert len(cases) == 7
    for case in cases:
        found = ood_metrics(golden[f"{case}/id"], golden[f"{case}/ood"])
        expected = golden[f"{case}/auroc_aupr_fpr95"]
        np.testing.assert_allclose([found["auroc"], found["aupr_in"], found["fpr95"]], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("n_id", "n_ood", "levels"), [(60, 40, None), (37, 90, 2), (3, 20, 2), (20, 5, 1), (1, 1, 1)])
def test_equal_to_explicit_loops_with_and_without_ties(n_id, n_ood, levels):
    for seed in range(8):
        id_scores, ood_scores = random_scores(seed, n_id, n_ood, levels)
        found = ood_metrics(id_scores, ood_scores)
        assert found["fpr95"] == pytest.approx(loop_fpr95(id_scores, ood_scores), abs=1e-12)
        assert found["auroc"] == pytest.approx(loop_auroc(id_scores, ood_scores), abs=1e-12)
        assert found["aupr_in"] == pytest.approx(loop_average_precision(id_scores, ood_scores), abs=1e-12)
        assert found["aupr_out"] == pytest.approx(loop_average_precision(-ood_scores, -id_scores), abs=1e-12)


def official_fpr95(id_scores, ood_scores):
    """`fpr_and_fdr_at_recall` of the official code, written anew for scores without ties."""
    order = np.argsort(np.concatenate([id_scores, ood_scores]), kind="mergesort")[::-1]
    is_id = order < len(id_scores)
    recall = is_id.cumsum() / is_id.sum()
    last = int(recall.searchsorted(1.0))
    cutoff = np.abs(np.r_[recall[last::-1], 1] - 0.95).argmin()
    return np.r_[(~is_id).cumsum()[last::-1], 0][cutoff] / len(ood_scores)


def test_equally_close_thresholds_are_chosen_as_by_the_official_code():
    """With 10, 30, 50, ... ID images two thresholds are equally close to 95 %."""
    higher = 0
    for n_id in range(10, 2000, 20):
        id_scores, ood_scores = random_scores(n_id, n_id, 400)
        assert ood_metrics(id_scores, ood_scores)["fpr95"] == official_fpr95(id_scores, ood_scores)
        higher += (id_scores >= recall_threshold(id_scores)).mean() < 0.95
    assert higher == 75


def openood_fpr95(id_scores, ood_scores):
    """OpenOOD's rule: the ID images rejected where, score by score from below, 95 % of OOD are rejected first."""
    for threshold in sorted({*id_scores, *ood_scores}):
        if sum(score <= threshold for score in ood_scores) / len(ood_scores) >= 0.95:
            return sum(score <= threshold for score in id_scores) / len(id_scores)


@pytest.mark.parametrize("seed", range(20))
def test_with_ood_positive_the_rule_is_that_of_openood(seed):
    id_scores, ood_scores = random_scores(seed, 50 + seed, 30 + 7 * seed, levels=5 if seed % 2 else None)
    found, usual = (ood_metrics(id_scores, ood_scores, positive=positive) for positive in ("OOD", "ID"))
    assert found["fpr95"] == openood_fpr95(id_scores, ood_scores) != usual["fpr95"]
    assert {**found, "fpr95": 0} == {**usual, "fpr95": 0}


def test_whole_numbers_are_exact_or_refused():
    assert ood_metrics(np.array([2**53 - 1, 4]), torch.tensor([2**53 - 2, 3]))["auroc"] == 0.75
    for large in (np.array([2**53 + 1, 4]), torch.tensor([2**63 - 1, 4]), np.array([2**64 - 1, 4], np.uint64)):
        with pytest.raises(ValueError, match="ID scores are too large or too precise for float64"):
            ood_metrics(large, np.array([2**53, 3]))
    with pytest.raises(ValueError, match="object"):
        ood_metrics(np.array([2**70, 4]), np.array([2**53, 3]))


@pytest.mark.parametrize("function", [ood_metrics, roc_curve, lambda ids, oods: recall_threshold(oods)])
@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.zeros((3, 2)), r"scores \(N,\), real numbers, got \(3, 2\)"),
        (torch.zeros(3, 1), r"got \(3, 1\)"),
        (np.float64(1), r"got \(\)"),
        (np.ma.masked_array([0.0, 9.0], [False, True]), "masked array"),
        (np.array([1j, 2]), "complex128"),
        (np.array(["1", "2"]), "<U1"),
    ],
)
def test_what_is_no_row_of_numbers_is_refused(function, scores, message):
    with pytest.raises(ValueError, match=message):
        function(np.ones(3), scores)


def test_perfect_separation_and_its_opposite():
    perfect = ood_metrics(np.array([2.0, 3.0]), np.array([0.0, 1.0, 1.0]))
    assert perfect == {"fpr95": 0.0, "auroc": 1.0, "aupr_in": 1.0, "aupr_out": 1.0}
    assert ood_metrics(np.zeros(5), np.ones(5))["auroc"] == 0.0
    assert ood_metrics(np.zeros(5), np.zeros(5)) == {"fpr95": 1.0, "auroc": 0.5, "aupr_in": 0.5, "aupr_out": 0.5}


def test_tensors_of_any_float_type_are_taken():
    id_scores, ood_scores = random_scores(0, 50, 60, levels=4)
    expected = ood_metrics(id_scores, ood_scores)
    tensors = torch.from_numpy(id_scores).bfloat16().requires_grad_(), torch.from_numpy(ood_scores).half()
    assert ood_metrics(*tensors) == expected


@pytest.mark.parametrize("values", [[math.nan, 1.0, math.inf], [math.nan, 1.0, -math.inf]])
def test_scores_that_are_not_finite_are_counted(values):
    with pytest.raises(ValueError, match="2 of 3 OOD scores are not finite"):
        ood_metrics(np.ones(4), np.array(values))
    with pytest.raises(ValueError, match="2 of 3 ID scores are not finite"):
        ood_metrics(torch.tensor(values), torch.ones(4))


def test_empty_sides_are_refused():
    with pytest.raises(ValueError, match="no ID scores"):
        ood_metrics(np.array([]), np.ones(3))
    with pytest.raises(ValueError, match="no OOD scores"):
        ood_metrics(np.ones(3), np.array([]))


def test_threshold_accepts_95_percent_of_id():
    scores = np.random.default_rng(0).normal(size=1000)
    assert (scores >= recall_threshold(scores)).mean() == 0.95


@pytest.mark.parametrize("recall", [95, -0.1, math.nan])
def test_a_recall_that_is_no_fraction_is_refused(recall):
    """95 would give the lowest score of all, and so accept everything."""
    with pytest.raises(ValueError, match="recall must be from 0 to 1, not"):
        recall_threshold(np.arange(20), recall)


def test_roc_curve_runs_from_corner_to_corner_and_holds_the_auroc():
    id_scores, ood_scores = random_scores(3, 80, 70, levels=3)
    accepted_ood, accepted_id = roc_curve(id_scores, ood_scores)
    assert (accepted_ood[0], accepted_id[0], accepted_ood[-1], accepted_id[-1]) == (0, 0, 1, 1)
    area = sum(
        (accepted_ood[i + 1] - accepted_ood[i]) * (accepted_id[i + 1] + accepted_id[i]) / 2
        for i in range(len(accepted_id) - 1)
    )
    assert area == pytest.approx(ood_metrics(id_scores, ood_scores)["auroc"])


def unit(vector):
    return vector / np.linalg.norm(vector)


def test_dispersion_is_the_arccos_of_the_mean_cosine():
    prototypes = np.random.default_rng(0).normal(size=(7, 5))
    cosines = [unit(a) @ unit(b) for i, a in enumerate(prototypes) for j, b in enumerate(prototypes) if i != j]
    assert dispersion_degrees(prototypes) == pytest.approx(math.degrees(math.acos(np.mean(cosines))))
    assert dispersion_degrees(np.array([[1.0, 0.0], [-1.0, 0.0]])) == pytest.approx(180)


def test_compactness_is_the_arccos_of_the_mean_cosine_to_the_own_mean():
    random = np.random.default_rng(1)
    features, means, labels = random.normal(size=(30, 6)), random.normal(size=(4, 6)), random.integers(0, 4, 30)
    cosines = [unit(z) @ unit(means[y]) for z, y in zip(features, labels, strict=True)]
    expected = math.degrees(math.acos(np.mean(cosines)))
    assert compactness_degrees(features, torch.from_numpy(means), labels) == pytest.approx(expected)
    assert compactness_degrees(means, means, np.arange(4)) == pytest.approx(0, abs=1e-5)


def test_accuracy():
    assert accuracy(torch.tensor([0, 1, 2, 2]), np.array([0, 1, 2, 0])) == 0.75
    for shape in ((4, 1), (3,), ()):
        with pytest.raises(ValueError, match=r"got \(4,\) and"):
            accuracy(torch.tensor([0, 1, 2, 2]), np.zeros(shape))


def test_separability_is_the_difference_of_angles_of_mean_cosines():
    random = np.random.default_rng(0)
    means, id_rows, ood_rows = (random.normal(size=(count, 5)) for count in (3, 20, 30))
    angles = []
    for rows in (id_rows, ood_rows):
        cosines = [max(row @ mu / np.linalg.norm(row) / np.linalg.norm(mu) for mu in means) for row in rows]
        angles.append(math.degrees(math.acos(sum(cosines) / len(cosines))))
    assert separability_degrees(id_rows, ood_rows, means) == pytest.approx(angles[1] - angles[0])
    expected = [math.degrees(math.acos(cosine)) for cosine in cosines]
    assert nearest_degrees(ood_rows, means).tolist() == pytest.approx(expected)


def test_another_positive_class_is_refused():
    for positive in ("both", "ood"):
        with pytest.raises(ValueError, match="choose from ID, OOD"):
            ood_metrics(np.ones(3), np.zeros(3), positive=positive)
