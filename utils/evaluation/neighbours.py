"""The K of the KNN score: what others would give, and a choice that no OOD test set has a say in."""

from collections.abc import Sequence

from torch import Tensor

from utils.evaluation.knn_search import Bank
from utils.evaluation.metrics import ood_metrics

# Candidates of --K auto: those of the KNN paper (Sun et al. 2022), from one image to a tenth of a small bank.
CANDIDATES = (1, 5, 10, 20, 50, 100, 200, 300, 500, 1000)


def choose_k(
    bank: Tensor, id_features: Tensor, ood_features: Tensor, usual: int | None, candidates: Sequence[int] = CANDIDATES
) -> tuple[int, dict[int, float]]:
    """The K whose score tells ID images best by AUROC from OOD images that are no test set: noise, or for validation.

    Of equal ones it is the `usual` one, a candidate, too, and else the smallest. It is M where all are larger.

    Args:
        bank: (M, D) features of ID train.    id_features: (N, D).    ood_features: (L, D).
    Returns:
        K, and AUROC by candidate.
    """
    ks = sorted({k for k in (*candidates, usual) if k is not None and k <= len(bank)}) or [len(bank)]
    found = sweep_k(bank, id_features, {"": ood_features}, ks)
    aurocs = {k: found[k][""]["auroc"] for k in ks}
    return max(aurocs, key=lambda k: (aurocs[k], k == usual)), aurocs


def sweep_k(
    bank: Tensor, id_features: Tensor, ood_features: dict[str, Tensor], ks: Sequence[int], *, positive: str = "ID"
) -> dict[int, dict[str, dict[str, float]]]:
    """Metrics of the KNN score for several K from one search: K -> OOD set -> metrics as fractions.

    Args:
        bank, id_features, ood_features: what `knn_score` takes, on one device.
    Raises:
        ValueError: a K that is larger than the bank.
    """
    prepared = Bank(bank)
    id_columns, *ood_columns = (
        prepared.search(rows, ks).scores.cpu().numpy().T for rows in (id_features, *ood_features.values())
    )
    return {
        k: {
            name: ood_metrics(id_columns[i], columns[i], positive=positive)
            for name, columns in zip(ood_features, ood_columns, strict=True)
        }
        for i, k in enumerate(ks)
    }
