"""OOD detection metrics with ID as the positive class, and the geometry of embeddings in degrees."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

ArrayLike = Tensor | np.ndarray

ID_RECALL = 0.95


def ood_metrics(id_scores: ArrayLike, ood_scores: ArrayLike) -> dict[str, float]:
    """FPR95, AUROC, AUPR-In and AUPR-Out of scores that are larger for ID, as in CIDER's tables (METHODS: ID positive).

    fpr95     share of OOD accepted at the threshold whose ID recall is closest to 0.95; of equally close thresholds
              the lowest, as in the official code
    auroc     chance that an ID score exceeds an OOD score, a tie counting one half
    aupr_in   average precision with ID positive;    aupr_out   with OOD positive

    Args:
        id_scores: (N,).    ood_scores: (M,).
    Returns:
        fractions of 1.
    Raises:
        ValueError: no scores on one side, or scores that are not finite (with their number).
    """
    id_scores, ood_scores = _checked(id_scores, "ID"), _checked(ood_scores, "OOD")
    accepted_id, accepted_ood = _accepted_counts(id_scores, ood_scores)
    rejected_ood, rejected_id = _accepted_counts(-ood_scores, -id_scores)
    recall, false_positives = accepted_id / len(id_scores), accepted_ood / len(ood_scores)
    return {
        "fpr95": float(false_positives[_closest_lowest(recall)]),
        "auroc": float((np.diff(false_positives, prepend=0) * (recall + np.r_[0, recall[:-1]]) / 2).sum()),
        "aupr_in": _average_precision(accepted_id, accepted_ood),
        "aupr_out": _average_precision(rejected_ood, rejected_id),
    }


def recall_threshold(id_scores: ArrayLike, recall: float = ID_RECALL) -> float:
    """The ID score at which the share of ID images accepted (score >= threshold) is closest to `recall`.

    Raises:
        ValueError: no scores, or scores that are not finite.
    """
    scores = _checked(id_scores, "ID")
    accepted, _ = _accepted_counts(scores, scores[:0])
    return float(np.unique(scores)[::-1][_closest_lowest(accepted / len(scores), recall)])


def roc_curve(id_scores: ArrayLike, ood_scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Share of OOD and share of ID accepted at every threshold, from (0, 0) to (1, 1); ID is positive.

    Raises:
        ValueError: no scores on one side, or scores that are not finite.
    """
    id_scores, ood_scores = _checked(id_scores, "ID"), _checked(ood_scores, "OOD")
    accepted_id, accepted_ood = _accepted_counts(id_scores, ood_scores)
    return np.r_[0, accepted_ood / len(ood_scores)], np.r_[0, accepted_id / len(id_scores)]


def dispersion_degrees(prototypes: ArrayLike) -> float:
    """How far apart class prototypes lie: arccos of the mean cosine over all pairs i != j (Ming et al. 2023, table 4).

    The arccos of the mean, as in the official code, not the mean of angles. Rows are normalised here.

    Args:
        prototypes: (C, D), C >= 2.
    Returns:
        degrees, 0 to 180; larger is better.
    Raises:
        ValueError: fewer than two prototypes.
    """
    unit = _unit_rows(prototypes)
    count = len(unit)
    if count < 2:
        raise ValueError(f"dispersion needs at least two prototypes, got {count}")
    # The sum over all pairs is |sum of the rows|^2; the diagonal holds each row's square.
    mean_cosine = (unit.sum(0).square().sum() - unit.square().sum()) / (count * (count - 1))
    return _degrees(mean_cosine)


def compactness_degrees(features: ArrayLike, means: ArrayLike, labels: ArrayLike) -> float:
    """How close features lie to their class mean: arccos of the mean cosine z_i . mu_{y_i} (Ming et al. 2023, table 4).

    The arccos of the mean, as in the official code, not the mean of angles. Rows are normalised here.

    Args:
        features: (N, D).    means: (C, D) class means or prototypes.    labels: (N,) classes, 0..C-1.
    Returns:
        degrees, 0 to 180; smaller is better.
    Raises:
        ValueError: no features, or labels that do not fit them or the means.
    """
    features, means = _unit_rows(features), _unit_rows(means)
    labels = torch.as_tensor(labels).to(features.device)
    if labels.shape != features.shape[:1] or len(labels) == 0:
        raise ValueError(f"expected one label for each of {len(features)} features, got {tuple(labels.shape)}")
    if labels.min() < 0 or labels.max() >= len(means):
        raise ValueError(f"labels run from {labels.min()} to {labels.max()}, but there are {len(means)} class means")
    return _degrees((features * means.to(features.device)[labels]).sum(1).mean())


def accuracy(predicted: ArrayLike, labels: ArrayLike) -> float:
    """Share of predictions that equal the labels."""
    predicted, labels = torch.as_tensor(predicted), torch.as_tensor(labels)
    return float((predicted == labels.to(predicted.device)).double().mean())


def _checked(scores: ArrayLike, name: str) -> np.ndarray:
    if isinstance(scores, Tensor):
        scores = scores.detach().double().cpu().numpy()
    scores = np.asarray(scores, dtype=np.float64).ravel()
    if len(scores) == 0:
        raise ValueError(f"no {name} scores")
    broken = len(scores) - np.isfinite(scores).sum()
    if broken:
        raise ValueError(f"{broken:,} of {len(scores):,} {name} scores are not finite")
    return scores


def _accepted_counts(positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many of each side reach every distinct score, from the highest score down."""
    scores = np.concatenate([positive, negative])
    thresholds, group = np.unique(-scores, return_inverse=True)
    counts = np.bincount(group[: len(positive)], minlength=len(thresholds))
    others = np.bincount(group[len(positive) :], minlength=len(thresholds))
    return counts.cumsum(), others.cumsum()


def _closest_lowest(recall: np.ndarray, wanted: float = ID_RECALL) -> int:
    """Index of the recall closest to `wanted`; of equally close ones the last, but none after all ID are accepted."""
    recall = recall[: np.searchsorted(recall, 1.0) + 1]
    return len(recall) - 1 - int(np.abs(recall - wanted)[::-1].argmin())


def _average_precision(true_positives: np.ndarray, false_positives: np.ndarray) -> float:
    gained = np.diff(true_positives, prepend=0) / true_positives[-1]
    return float((gained * true_positives / (true_positives + false_positives)).sum())


def _unit_rows(rows: ArrayLike) -> Tensor:
    return F.normalize(torch.as_tensor(rows).detach().double(), dim=1)


def _degrees(cosine: Tensor) -> float:
    return float(cosine.clamp(-1, 1).arccos().rad2deg())
