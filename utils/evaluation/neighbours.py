"""The K of the KNN score: what others would give, and a choice that no OOD test set has a say in."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from utils.evaluation.metrics import ood_metrics
from utils.evaluation.scores import knn_scores

# Candidates of --K auto: those of the KNN paper (Sun et al. 2022), from one image to a tenth of a small bank.
CANDIDATES = (1, 5, 10, 20, 50, 100, 200, 300, 500, 1000)


def choose_k(
    bank: Tensor, id_features: Tensor, noise_features: Tensor, usual: int | None, candidates: Sequence[int] = CANDIDATES
) -> tuple[int, dict[int, float]]:
    """The K whose score tells ID test from Gaussian noise best by AUROC; `usual` where others are no better.

    Or from the validation images that a benchmark has for it; then without a `usual` one, and the smallest of the best.

    Args:
        bank: (M, D) features of ID train.    id_features: (N, D) of ID test.    noise_features: (L, D).
        usual: the K that is otherwise used; it is a candidate, too.
    Returns:
        K, and AUROC by candidate.
    """
    ks = sorted({k for k in (*candidates, usual) if k is not None and k <= len(bank)})
    found = sweep_k(bank, id_features, {"noise": noise_features}, ks)
    aurocs = {k: found[k]["noise"]["auroc"] for k in ks}
    return max(aurocs, key=lambda k: (aurocs[k], k == usual)), aurocs


def sweep_k(
    bank: Tensor, id_features: Tensor, ood_features: dict[str, Tensor], ks: Sequence[int], *, positive: str = "ID"
) -> dict[int, dict[str, dict[str, float]]]:
    """Metrics of the KNN score for several K from one search: K -> OOD set -> metrics as fractions.

    Args:
        bank, id_features, ood_features: what `knn_score` takes, on the device to search on.
    Raises:
        ValueError: a K that is larger than the bank.
    """
    id_columns = _columns(bank, id_features, ks)
    found: dict[int, dict[str, dict[str, float]]] = {k: {} for k in ks}
    for name, features in ood_features.items():
        for k, id_scores, scores in zip(ks, id_columns, _columns(bank, features, ks), strict=True):
            found[k][name] = ood_metrics(id_scores, scores, positive=positive)
    return found


def _columns(bank: Tensor, queries: Tensor, ks: Sequence[int]) -> np.ndarray:
    return knn_scores(bank, queries.to(bank.device), ks).cpu().numpy().T
