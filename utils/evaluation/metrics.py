"""OOD detection metrics, ID positive unless said otherwise, and the geometry of embeddings in degrees."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from utils.evaluation.arrays import ArrayLike, to_tensor

RECALL = 0.95


def ood_metrics(id_scores: ArrayLike, ood_scores: ArrayLike, *, positive: str = "ID") -> dict[str, float]:
    """FPR95, AUROC, AUPR-In and AUPR-Out of scores that are larger for ID, as in CIDER's tables (ID positive).

    fpr95     share of OOD accepted at the lowest threshold with the ID recall that is closest to 0.95. Of two recalls
              that are equally close, which 10, 30, 50, ... ID images have, rounding in float64 takes one as it does in
              the official code: mostly the smaller. With OOD positive, as in OpenOOD: share of ID rejected at the
              first threshold, from the lowest up, that rejects at least 95 % of OOD. The two are different numbers
    auroc     chance that an ID score exceeds an OOD score, a tie counting one half; the same in both conventions
    aupr_in   average precision with ID positive;    aupr_out   with OOD positive

    Args:
        id_scores: (N,).    ood_scores: (M,).    positive: "ID" or "OOD".
    Returns:
        fractions of 1.
    Raises:
        ValueError: no scores on one side, scores that are not (N,) real numbers, or not finite (with their number), or
            more exact than float64; another `positive`.
    """
    if positive not in ("ID", "OOD"):
        raise ValueError(f"unknown positive class {positive!r}; choose from ID, OOD")
    id_scores, ood_scores = checked_scores(id_scores, "ID"), checked_scores(ood_scores, "OOD")
    found = metrics_of_counts(*_counts(id_scores, ood_scores), positive)
    return {name: float(value) for name, value in found.items()}


def metrics_of_counts(ids: np.ndarray, oods: np.ndarray, positive: str = "ID") -> dict[str, np.ndarray]:
    """`ood_metrics` of many experiments at once: (..., G) images of each side at G thresholds -> (...) values.

    Args:
        ids, oods: images whose score is the g-th largest; zero where an experiment has none of it.
    """
    # Whole numbers in float64 are exact, and need no conversion for the divisions.
    accepted_id, accepted_ood = (side.cumsum(-1, dtype=np.float64) for side in (ids, oods))
    n_id, n_ood = accepted_id[..., -1:], accepted_ood[..., -1:]
    rejected_id, rejected_ood = n_id - accepted_id + ids, n_ood - accepted_ood + oods
    if positive == "ID":
        chosen, false, negatives = _closest(accepted_id / n_id), accepted_ood, n_ood
    else:
        chosen = (rejected_ood[..., ::-1] / n_ood >= RECALL).argmax(-1)
        false, negatives = rejected_id[..., ::-1], n_id
    return {
        "fpr95": (np.take_along_axis(false, chosen[..., None], axis=-1) / negatives)[..., 0],
        "auroc": (oods * (2 * accepted_id - ids)).sum(-1) / (2 * n_id * n_ood)[..., 0],
        "aupr_in": _average_precision(ids, accepted_id, accepted_ood) / n_id[..., 0],
        "aupr_out": _average_precision(oods, rejected_ood, rejected_id) / n_ood[..., 0],
    }


def recall_threshold(id_scores: ArrayLike, recall: float = RECALL) -> float:
    """The ID score at which the share of ID images accepted (score >= threshold) is closest to `recall`.

    Of two shares that are equally close one is taken as in `ood_metrics`, whose errors this has, too.

    Raises:
        ValueError: `recall` is not a fraction of 1.
    """
    if not 0 <= recall <= 1:
        raise ValueError(f"recall must be from 0 to 1, not {recall}")
    scores = checked_scores(id_scores, "ID")
    values, counts = np.unique(scores, return_counts=True)
    accepted = counts[::-1].cumsum() / len(scores)
    return float(values[::-1][_closest(accepted, recall)])


def roc_curve(id_scores: ArrayLike, ood_scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Share of OOD and of ID accepted at every threshold, from (0, 0) to (1, 1); errors as in `ood_metrics`."""
    id_scores, ood_scores = checked_scores(id_scores, "ID"), checked_scores(ood_scores, "OOD")
    accepted_id, accepted_ood = (counts.cumsum() for counts in _counts(id_scores, ood_scores))
    return np.r_[0, accepted_ood / len(ood_scores)], np.r_[0, accepted_id / len(id_scores)]


def dispersion_degrees(prototypes: ArrayLike) -> float:
    """How far apart class prototypes lie: arccos of the mean cosine over all pairs i != j (Ming et al. 2023, table 4).

    The arccos of the mean, as in the official code, not the mean of angles. Rows are normalised here.

    Args:
        prototypes: (C, D), C >= 2.
    Returns:
        degrees, 0 to 180; larger is better.
    """
    unit = _unit_rows(prototypes)
    count = len(unit)
    # The sum over all pairs is |sum of the rows|^2; the diagonal holds each row's square.
    mean_cosine = (unit.sum(0).square().sum() - unit.square().sum()) / (count * (count - 1))
    return _degrees(mean_cosine)


def compactness_degrees(features: ArrayLike, means: ArrayLike, labels: ArrayLike) -> float:
    """How close features lie to their class mean: arccos of the mean cosine z_i . mu_{y_i}, as for dispersion.

    Args:
        features: (N, D).    means: (C, D) class means or prototypes.    labels: (N,) classes, 0..C-1.
    Returns:
        degrees, 0 to 180; smaller is better.
    """
    features = _unit_rows(features)
    means, labels = (values.to(features.device) for values in (_unit_rows(means), to_tensor(labels)))
    return _degrees((features * means[labels]).sum(1).mean())


def nearest_degrees(features: ArrayLike, means: ArrayLike) -> Tensor:
    """Angle of each feature (N, D) to the nearest class mean (C, D): (N,) float64 degrees. Rows are normalised here."""
    return _largest_cosines(features, means).clamp(-1, 1).arccos().rad2deg()


def separability_degrees(id_features: ArrayLike, ood_features: ArrayLike, means: ArrayLike) -> float:
    """How much farther OOD lies from the nearest class mean than ID does (Ming et al. 2023, section 4.3).

    arccos(mean over OOD of max_c z.mu_c) - arccos(mean over ID of max_c z.mu_c): of mean cosines, as in the official
    code, not a difference of mean angles. Rows are normalised here.

    Args:
        id_features: (N, D).    ood_features: (M, D).    means: (C, D) class means of ID train.
    Returns:
        degrees, -180 to 180; larger is better.
    """
    of_ood, of_id = (_degrees(_largest_cosines(rows, means).mean()) for rows in (ood_features, id_features))
    return of_ood - of_id


def accuracy(predicted: ArrayLike, labels: ArrayLike) -> float:
    """Share of predictions (N,) that equal the labels (N,).

    Raises:
        ValueError: other shapes, or none of them.
    """
    predicted, labels = to_tensor(predicted), to_tensor(labels)
    if predicted.ndim != 1 or predicted.shape != labels.shape or not len(labels):
        shapes = f"{tuple(predicted.shape)} and {tuple(labels.shape)}"
        raise ValueError(f"expected predictions and labels (N,), got {shapes}")
    return float((predicted == labels.to(predicted.device)).double().mean())


def checked_scores(scores: ArrayLike, name: str) -> np.ndarray:
    """Scores as (N,) float64; errors as in `ood_metrics`."""
    if isinstance(scores, Tensor):
        scores = (scores.detach().double() if scores.is_floating_point() else scores.detach()).cpu().numpy()
    if np.ma.isMaskedArray(scores):
        raise ValueError(f"{name} scores are a masked array: leave out what is masked (scores.compressed())")
    scores = np.asarray(scores)
    if scores.ndim != 1 or scores.dtype.kind not in "biuf":
        raise ValueError(f"expected {name} scores (N,), real numbers, got {scores.shape} {scores.dtype}")
    if len(scores) == 0:
        raise ValueError(f"no {name} scores")
    broken = len(scores) - np.isfinite(scores).sum()
    if broken:
        raise ValueError(f"{broken:,} of {len(scores):,} {name} scores are not finite")
    exact = scores.astype(np.float64)
    with np.errstate(invalid="ignore"):
        rounded = (exact.astype(scores.dtype) != scores).any()
    if rounded:
        raise ValueError(f"{name} scores are too large or too precise for float64, which would tie some of them")
    return exact


def score_groups(id_scores: np.ndarray, ood_scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """For each image the rank of its score among the distinct ones, 0 for the highest, and how many there are."""
    values, group = np.unique(-np.concatenate([id_scores, ood_scores]), return_inverse=True)
    return group[: len(id_scores)], group[len(id_scores) :], len(values)


def _counts(id_scores: np.ndarray, ood_scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    *groups, count = score_groups(id_scores, ood_scores)
    return tuple(np.bincount(group, minlength=count) for group in groups)


def _closest(recall: np.ndarray, wanted: float = RECALL) -> np.ndarray:
    """Index of the recall closest to `wanted` in float64; of equal ones the last, but none after all are accepted."""
    distance = np.abs(recall - wanted)
    distance[..., 1:][recall[..., :-1] >= 1] = np.inf
    return recall.shape[-1] - 1 - distance[..., ::-1].argmin(-1)


def _average_precision(gained: np.ndarray, true_positives: np.ndarray, false_positives: np.ndarray) -> np.ndarray:
    """Sum of the precision at which each positive is gained."""
    # Where a resample lacks the highest scores nobody is accepted yet, and nothing is gained.
    return (gained * (true_positives / np.maximum(true_positives + false_positives, 1))).sum(-1)


def _unit_rows(rows: ArrayLike) -> Tensor:
    return F.normalize(to_tensor(rows).double(), dim=1)


def _largest_cosines(features: ArrayLike, means: ArrayLike) -> Tensor:
    """Largest cosine of each feature to a class mean, (N,)."""
    means = _unit_rows(means)
    blocks = to_tensor(features).split(16384)
    return torch.cat([(_unit_rows(rows) @ means.to(rows.device).T).amax(1) for rows in blocks])


def _degrees(cosine: Tensor) -> float:
    return float(cosine.clamp(-1, 1).arccos().rad2deg())
