"""From extracted features to scores, metrics, ID accuracy and geometry: the evaluation of one checkpoint."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from utils.errors import UserError
from utils.evaluation.features import Features
from utils.evaluation.logit_scores import LogitScore
from utils.evaluation.metrics import accuracy, compactness_degrees, dispersion_degrees, ood_metrics, recall_threshold
from utils.evaluation.scores import knn_score, knn_search, majority_vote, nearest_prototype
from utils.prototypes import class_means


@dataclass(frozen=True)
class Evaluation:
    """What one score says about ID test (N images) and each OOD set.

    Attributes:
        score: as shown, with its settings.
        id_scores, ood_scores: larger = more ID.
        threshold: the ID score that 95 % of ID test reaches.
        ood_metrics: OOD set -> metrics as fractions.
        id_accuracy: way of classifying -> share correct, None where the checkpoint has not what it takes.
        geometry: degrees.
        test: outputs of the network for ID test, with labels.    knn_classes: (N,) classes by KNN.
        features: "ID test" and each OOD set -> (N, D) unit rows that were scored.
    """

    score: str
    id_scores: np.ndarray
    ood_scores: dict[str, np.ndarray]
    threshold: float
    ood_metrics: dict[str, dict[str, float]]
    id_accuracy: dict[str, float | None]
    geometry: dict[str, float]
    test: Features
    knn_classes: Tensor
    features: dict[str, Tensor]


def evaluate_knn(
    train: Features,
    test: Features,
    ood: dict[str, Features],
    *,
    k: int,
    num_classes: int,
    prototypes: Tensor | None = None,
    fc_is_trained: bool = False,
    device: torch.device | str = "cpu",
) -> Evaluation:
    """KNN score on L2-normalised penultimate features against all ID training features (Ming et al. 2023, section 4).

    Args:
        ood: OOD set -> its features.
        prototypes: (C, feat_dim) of the head's space, or None.
        fc_is_trained: whether the logits mean anything.
        device: where the neighbours are searched.
    Raises:
        UserError: k is larger than the training set, or the network's output is not finite.
    """
    if k > len(train.outputs["penultimate"]):
        count = len(train.outputs["penultimate"])
        raise UserError(f"--K {k} needs as many ID training images, but there are {count:,}")
    bank = _unit_penultimate(train, "the ID training set")
    features = {"ID test": _unit_penultimate(test, "the ID test set")}
    features |= {name: _unit_penultimate(found, name) for name, found in ood.items()}
    on_device = bank.to(device)
    nearest = knn_search(on_device, features["ID test"].to(device), (k,))
    id_scores = nearest.scores[:, 0].cpu().numpy()
    ood_scores = {name: knn_score(on_device, features[name].to(device), k).cpu().numpy() for name in ood}
    knn_classes = majority_vote(train.labels, nearest.indices.cpu())
    return Evaluation(
        score=f"KNN (K={k})",
        id_scores=id_scores,
        ood_scores=ood_scores,
        threshold=recall_threshold(id_scores),
        ood_metrics={name: ood_metrics(id_scores, scores) for name, scores in ood_scores.items()},
        id_accuracy=_id_accuracy(test, knn_classes, prototypes, fc_is_trained),
        geometry=_geometry(class_means(bank, train.labels, num_classes), features["ID test"], test, prototypes),
        test=test,
        knn_classes=knn_classes,
        features=features,
    )


def evaluate_logits(
    train: Features,
    test: Features,
    ood: dict[str, Features],
    *,
    score: LogitScore,
    k: int,
    num_classes: int,
    device: torch.device | str = "cpu",
) -> Evaluation:
    """A score on the logits of a trained classifier; ID accuracy and geometry as in `evaluate_knn`.

    Args:
        k: neighbours for the ID accuracy by KNN.
    Raises:
        UserError: as `evaluate_knn`.
    """
    common = evaluate_knn(train, test, {}, k=k, num_classes=num_classes, fc_is_trained=True, device=device)
    features = {name: _unit_penultimate(found, name) for name, found in ood.items()}
    id_scores = score.score(test.outputs).numpy()
    ood_scores = {name: score.score(found.outputs).numpy() for name, found in ood.items()}
    return replace(
        common,
        score=score.shown,
        id_scores=id_scores,
        ood_scores=ood_scores,
        threshold=recall_threshold(id_scores),
        ood_metrics={name: ood_metrics(id_scores, scores) for name, scores in ood_scores.items()},
        id_accuracy={way: share for way, share in common.id_accuracy.items() if share is not None},
        features={**common.features, **features},
    )


def _unit_penultimate(features: Features, name: str) -> Tensor:
    rows = F.normalize(features.outputs["penultimate"], dim=1)
    broken = int((~rows.isfinite().all(1)).sum())
    if broken:
        raise UserError(
            f"the network's output is not finite for {broken:,} of {len(rows):,} images of {name}\n"
            "  do         : use --amp off; if that does not help, the checkpoint is of a run that failed"
        )
    return rows


def _id_accuracy(
    test: Features, knn_classes: Tensor, prototypes: Tensor | None, fc_is_trained: bool
) -> dict[str, float | None]:
    found: dict[str, float | None] = {"knn": accuracy(knn_classes, test.labels), "nearest_prototype": None}
    if prototypes is not None:
        found["nearest_prototype"] = accuracy(nearest_prototype(test.outputs["embedding"], prototypes), test.labels)
    # CIDER and SupCon leave fc as it was drawn: its accuracy would be chance, and would be taken for the network's.
    if fc_is_trained:
        found["fc"] = accuracy(test.outputs["logits"].argmax(1), test.labels)
    return found


def _geometry(means: Tensor, features: Tensor, test: Features, prototypes: Tensor | None) -> dict[str, float]:
    """Degrees: of penultimate features with class means of ID train, and head/... of head outputs with prototypes."""
    found = {
        "dispersion": dispersion_degrees(means),
        "compactness": compactness_degrees(features, means, test.labels),
    }
    if prototypes is not None:
        found["head/dispersion"] = dispersion_degrees(prototypes)
        found["head/compactness"] = compactness_degrees(test.outputs["embedding"], prototypes, test.labels)
    return found
