"""How far the metrics would vary with other test images: bootstrap intervals (Efron 1979)."""

import zlib

import numpy as np

from utils.evaluation.metrics import checked_scores, metrics_of_counts, score_groups

LEVEL = 0.95
# Scores drawn at once: few enough to stay in a CPU's cache, enough to hide the cost of a call.
DRAWN_AT_ONCE = 2**16


def bootstrap_metrics(
    id_scores: np.ndarray, ood_scores: dict[str, np.ndarray], *, resamples: int, seed: int = 0, positive: str = "ID"
) -> dict[str, dict[str, np.ndarray]]:
    """Metrics of resampled test sets: images of ID and of OOD are drawn with replacement, as many as there are.

    The r-th resample has the same ID images for every OOD set, so that means over sets can be taken resample by
    resample. What is drawn depends on the seed, the numbers of images and an OOD set's name alone. This says how the
    numbers depend on the test images; it does not say how they depend on the training run.

    Args:
        id_scores: (N,).    ood_scores: name -> (M,).    positive, errors: as in `ood_metrics`.
    Returns:
        OOD set -> metric -> (resamples,) fractions.
    """
    id_scores = checked_scores(id_scores, "ID")
    return {
        name: _resampled(id_scores, checked_scores(scores, "OOD"), resamples, seed, zlib.crc32(name.encode()), positive)
        for name, scores in ood_scores.items()
    }


def interval(values: np.ndarray) -> tuple[float, float]:
    """The percentile interval that holds the middle 95 % of resampled values."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _resampled(
    id_scores: np.ndarray, ood_scores: np.ndarray, resamples: int, seed: int, name: int, positive: str
) -> dict[str, np.ndarray]:
    id_groups, ood_groups, count = score_groups(id_scores, ood_scores)
    id_draws, ood_draws = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1, name])
    at_once = max(1, DRAWN_AT_ONCE // (len(id_scores) + len(ood_scores)))
    found = []
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        ids = _drawn_counts(id_groups, count, rows, id_draws)
        oods = _drawn_counts(ood_groups, count, rows, ood_draws)
        found.append(metrics_of_counts(ids, oods, positive))
    return {metric: np.concatenate([part[metric] for part in found]) for metric in found[0]}


def _drawn_counts(groups: np.ndarray, count: int, rows: int, draws: np.random.Generator) -> np.ndarray:
    """(rows, count): how often each group is drawn in each resample."""
    drawn = groups[draws.integers(0, len(groups), (rows, len(groups)))]
    drawn += np.arange(rows)[:, None] * count
    return np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
