"""From extracted features to scores, metrics, ID accuracy and geometry: the evaluation of one checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from utils.errors import UserError
from utils.evaluation.bootstrap import bootstrap_metrics
from utils.evaluation.features import Features
from utils.evaluation.knn_search import knn_search
from utils.evaluation.metrics import (
    accuracy,
    compactness_degrees,
    dispersion_degrees,
    nearest_degrees,
    ood_metrics,
    recall_threshold,
    separability_degrees,
)
from utils.evaluation.neighbours import sweep_k
from utils.evaluation.score_parts import FittedScore, Ingredients, Score
from utils.evaluation.scores import majority_vote, nearest_prototype
from utils.prototypes import class_means

ID_TEST = "ID test"
WHOLE_ID_TEST = "whole ID test"


@dataclass(frozen=True)
class ScoreResult:
    """What one score says about ID test (N images) and each OOD set.

    Attributes:
        name: as in the registry.    shown: as tables name it, with its settings.
        k: K of the KNN score; None for others.
        id_scores, ood_scores: larger = more ID.
        threshold: the ID score that 95 % of ID test reaches.
        probability: whether the sigmoid of the score is what its authors show.
        ood_metrics: OOD set -> metrics as fractions.
        samples: OOD set -> metric -> values of bootstrap resamples; None without bootstrap.
        whole_id_metrics: as `ood_metrics`, with the ID images that a benchmark keeps for validation; None without them.
    """

    name: str
    shown: str
    k: int | None
    id_scores: np.ndarray
    ood_scores: dict[str, np.ndarray]
    threshold: float
    probability: bool
    ood_metrics: dict[str, dict[str, float]]
    samples: dict[str, dict[str, np.ndarray]] | None
    whole_id_metrics: dict[str, dict[str, float]] | None = None


@dataclass(frozen=True)
class Space:
    """Where the KNN score and the geometry live: L2-normalised penultimate features.

    bank: (M, D) of ID train.    features: ID_TEST and each OOD set -> (N, D).    means: (C, D) unit class means of ID
    train.
    """

    bank: Tensor
    features: dict[str, Tensor]
    means: Tensor


@dataclass(frozen=True)
class Evaluation:
    """All that is known about a checkpoint.

    Attributes:
        results: of each score.
        id_accuracy: way of classifying -> share correct, None where the checkpoint has not what it takes.
        geometry: degrees.    separability: OOD set -> degrees.
        angles: ID_TEST and each OOD set -> (N,) degrees to the nearest class mean.
        test: outputs of the network for ID test, with labels.    knn_classes: (N,) classes by KNN.
        features: ID_TEST and each OOD set -> (N, D) unit rows.
        k: of the KNN score.    sweep: other K -> OOD set -> metrics of the KNN score.
    """

    results: tuple[ScoreResult, ...]
    id_accuracy: dict[str, float | None]
    geometry: dict[str, float]
    separability: dict[str, float]
    angles: dict[str, np.ndarray]
    test: Features
    knn_classes: Tensor
    features: dict[str, Tensor]
    k: int
    sweep: dict[int, dict[str, dict[str, float]]]


def normalised_space(
    train: Features, test: Features, ood: dict[str, Features], num_classes: int, device: torch.device | str
) -> Space:
    """The L2-normalised penultimate features on `device`.

    Raises:
        UserError: the network's output is not finite.
    """
    bank = unit_penultimate(train, "the ID training set", device)
    features = {ID_TEST: unit_penultimate(test, "the ID test set", device)}
    features |= {name: unit_penultimate(found, name, device) for name, found in ood.items()}
    return Space(bank, features, class_means(bank, train.labels.to(bank.device), num_classes))


def evaluate(
    train: Features,
    test: Features,
    ood: dict[str, Features],
    *,
    scores: Sequence[Score],
    given: Ingredients,
    space: Space,
    images: dict[str, Any] | None = None,
    positive: str = "ID",
    resamples: int = 0,
    seed: int = 0,
    sweep: Sequence[int] = (),
    whole: Features | None = None,
) -> Evaluation:
    """Fit scores to ID train, and apply them to ID test and the OOD sets.

    Args:
        ood: OOD set -> its features.
        scores: of the registry, none of which the checkpoint cannot give.
        space: `normalised_space` of the same features.
        images: ID_TEST and each OOD set -> utils.data.images.ImageSet; for scores that need the images.
        positive: "ID" or "OOD", see `ood_metrics`.
        resamples: bootstrap resamples of the metrics, drawn with `seed`; 0 for none.
        whole: of the whole ID test set where `test` is a part of it: metrics with it are given, too.
        sweep: other K for which the KNN score is to be judged, from one search.
    Raises:
        UserError: K is larger than the training set, or a score cannot be fitted to these features.
    """
    if given.k > len(space.bank):
        raise UserError(f"--K {given.k} needs as many ID training images, but there are {len(space.bank):,}")
    nearest = knn_search(space.bank, space.features[ID_TEST], (given.k,))
    knn_classes = majority_vote(train.labels, nearest.indices.cpu())
    train = _on_device(train, given.device)
    sets = {ID_TEST: test, **ood}
    results = []
    for score in tqdm(scores, desc="scores", leave=False, disable=None):
        fitted = score.fit(train, given)
        known = {ID_TEST: nearest.scores[:, 0].cpu().numpy()} if score.name == "knn" else {}
        found = known | {
            name: _scores(fitted, features, given, (images or {}).get(name))
            for name, features in sets.items()
            if name not in known
        }
        result = _result(score, given.k, found, positive, resamples, seed)
        if whole is not None:
            id_scores = _scores(fitted, whole, given, (images or {}).get(WHOLE_ID_TEST))
            others = {name: ood_metrics(id_scores, found[name], positive=positive) for name in ood}
            result = replace(result, whole_id_metrics=others)
        results.append(result)
    return Evaluation(
        results=tuple(results),
        id_accuracy=_id_accuracy(test, knn_classes, given),
        geometry=_geometry(space, test, given.prototypes),
        separability={
            name: separability_degrees(space.features[ID_TEST], space.features[name], space.means) for name in ood
        },
        angles={name: nearest_degrees(rows, space.means).cpu().numpy() for name, rows in space.features.items()},
        test=test,
        knn_classes=knn_classes,
        features={name: rows.cpu() for name, rows in space.features.items()},
        k=given.k,
        sweep=_sweep(space, sweep, positive),
    )


def _sweep(space: Space, ks: Sequence[int], positive: str) -> dict[int, dict[str, dict[str, float]]]:
    if not ks:
        return {}
    others = {name: rows for name, rows in space.features.items() if name != ID_TEST}
    return sweep_k(space.bank, space.features[ID_TEST], others, ks, positive=positive)


def unit_penultimate(features: Features, name: str, device: torch.device | str) -> Tensor:
    """L2-normalised penultimate features (N, D) on `device`; a UserError that says `name` where some are not finite."""
    rows = F.normalize(features.outputs["penultimate"].to(device), dim=1)
    broken = int((~rows.isfinite().all(1)).sum())
    if broken:
        raise UserError(
            f"the network's output is not finite for {broken:,} of {len(rows):,} images of {name}\n"
            "  do         : use --amp off; if that does not help, the checkpoint is of a run that failed"
        )
    return rows


def _on_device(features: Features, device: torch.device) -> Features:
    outputs = {name: values.to(device) for name, values in features.outputs.items()}
    return Features(outputs, None if features.labels is None else features.labels.to(device))


def _scores(fitted: FittedScore, features: Features, given: Ingredients, images: Any) -> np.ndarray:
    return fitted(_on_device(features, given.device).outputs, images).cpu().numpy()


def _result(
    score: Score, k: int, found: dict[str, np.ndarray], positive: str, resamples: int, seed: int
) -> ScoreResult:
    for images, scores in found.items():
        broken = int((~np.isfinite(scores)).sum())
        if broken:
            raise UserError(
                f"--score {score.name} gives no finite number for {broken:,} of {len(scores):,} of {images}"
            )
    id_scores = found[ID_TEST]
    ood_scores = {images: scores for images, scores in found.items() if images != ID_TEST}
    samples = None
    if resamples:
        samples = bootstrap_metrics(id_scores, ood_scores, resamples=resamples, seed=seed, positive=positive)
    return ScoreResult(
        name=score.name,
        shown=score.shown.format(k=k),
        k=k if "{k}" in score.shown else None,
        id_scores=id_scores,
        ood_scores=ood_scores,
        threshold=recall_threshold(id_scores),
        probability=score.probability,
        ood_metrics={
            images: ood_metrics(id_scores, scores, positive=positive) for images, scores in ood_scores.items()
        },
        samples=samples,
    )


def _id_accuracy(test: Features, knn_classes: Tensor, given: Ingredients) -> dict[str, float | None]:
    found: dict[str, float | None] = {"knn": accuracy(knn_classes, test.labels), "nearest_prototype": None}
    if given.prototypes is not None:
        classes = nearest_prototype(test.outputs["embedding"], given.prototypes)
        found["nearest_prototype"] = accuracy(classes, test.labels)
    # CIDER and SupCon leave fc as it was drawn: its accuracy would be chance, and would be taken for the network's.
    if given.classifier is not None:
        heads = {"head1": "logits", "head2": "logits2"} if "logits2" in test.outputs else {"fc": "logits"}
        found |= {head: accuracy(test.outputs[name].argmax(1), test.labels) for head, name in heads.items()}
    return found


def _geometry(space: Space, test: Features, prototypes: Tensor | None) -> dict[str, float]:
    """Degrees: of penultimate features with class means of ID train, and head/... of head outputs with prototypes."""
    found = {
        "dispersion": dispersion_degrees(space.means),
        "compactness": compactness_degrees(space.features[ID_TEST], space.means, test.labels),
    }
    if prototypes is not None:
        found["head/dispersion"] = dispersion_degrees(prototypes)
        found["head/compactness"] = compactness_degrees(test.outputs["embedding"], prototypes, test.labels)
    return found
