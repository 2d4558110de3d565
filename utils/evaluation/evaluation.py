"""From extracted features to scores, metrics, ID accuracy and geometry: the evaluation of one checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor
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
from utils.evaluation.score_parts import Ingredients, Score
from utils.evaluation.scores import majority_vote, nearest_prototype
from utils.prototypes import class_directions, class_means

ID_TRAIN = "ID train"
ID_TEST = "ID test"
WHOLE_ID_TEST = "whole ID test"


@dataclass(frozen=True)
class ScoreResult:
    """What one score says about ID test and each OOD set.

    Attributes:
        name: as in the registry.    shown: as tables name it, with its settings.    k: of the KNN score, else None.
        id_scores, ood_scores: larger = more ID.    threshold: the ID score that 95 % of ID test reaches.
        probability: whether the sigmoid of the score is what its authors show.
        ood_metrics: OOD set -> metrics as fractions.    samples: OOD set -> metric -> values of bootstrap resamples.
        whole_id_metrics: as `ood_metrics`, with the ID images that a benchmark keeps for validation.
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
    whole_id_metrics: dict[str, dict[str, float]] | None


@dataclass(frozen=True)
class Evaluation:
    """All that is known about a checkpoint.

    Attributes:
        results: of each score.
        id_accuracy: way of classifying -> share correct, None where the checkpoint has not what it takes.
        geometry: degrees.    separability: OOD set -> degrees.
        angles: ID_TEST and each OOD set -> (N,) degrees to the nearest class mean.
        train, test: outputs of the network for ID train and ID test.    knn_classes: (N,) classes by KNN.
        features: ID_TEST and each OOD set -> (N, D) unit rows.
        k: of the KNN score.    sweep: other K -> OOD set -> metrics of the KNN score.
        positive: "ID" or "OOD", what the metrics take as the positive class.
        notes: how K was chosen, and which images were left out.
    """

    results: tuple[ScoreResult, ...]
    id_accuracy: dict[str, float | None]
    geometry: dict[str, float]
    separability: dict[str, float]
    angles: dict[str, np.ndarray]
    train: Features
    test: Features
    knn_classes: Tensor
    features: dict[str, Tensor]
    k: int
    sweep: dict[int, dict[str, dict[str, float]]]
    positive: str
    notes: tuple[str, ...] = ()


def evaluate(
    train: Features,
    test: Features,
    ood: dict[str, Features],
    *,
    scores: Sequence[Score],
    given: Ingredients,
    images: dict[str, Any] | None = None,
    positive: str = "ID",
    resamples: int = 0,
    seed: int = 0,
    sweep: Sequence[int] = (),
    whole: Features | None = None,
) -> Evaluation:
    """Fit scores to ID train, and apply them to ID test and the OOD sets.

    Args:
        ood: OOD set -> its features.    scores: none that the checkpoint cannot give.
        images: ID_TEST, WHOLE_ID_TEST and each OOD set -> utils.data.images.ImageSet; for scores that need the images.
        positive: "ID" or "OOD", see `ood_metrics`.    resamples: of a bootstrap of the metrics, drawn with `seed`.
        sweep: other K for which the KNN score is to be judged, from one search.
        whole: of the whole ID test set where `test` is a part of it: metrics with it are given, too.
    Raises:
        UserError: features or scores that are not finite, or a score that cannot be fitted to these features.
    """
    on_device = train.to(given.device)
    sets = {name: found.to(given.device) for name, found in {ID_TEST: test, **ood}.items()}
    bank = unit_penultimate(on_device, ID_TRAIN)
    unit = {name: unit_penultimate(found, name) for name, found in sets.items()}
    of_ood = {name: rows for name, rows in unit.items() if name != ID_TEST}
    means = class_means(bank, on_device.labels, given.num_classes)
    nearest = knn_search(bank, unit[ID_TEST], (given.k,))
    knn_classes = majority_vote(on_device.labels, nearest.indices).cpu()
    if whole is not None:
        sets[WHOLE_ID_TEST] = whole.to(given.device)
    results = []
    for score in tqdm(scores, desc="scores", leave=False, disable=None):
        fitted = score.fit(on_device, given)
        found = {ID_TEST: nearest.scores[:, 0]} if score.name == "knn" else {}
        for name, features in sets.items():
            if name not in found:
                found[name] = fitted(features.outputs, (images or {}).get(name))
        arrays = {name: _finite(values, score, name) for name, values in found.items()}
        results.append(_result(score, given.k, arrays, positive, resamples, seed))
    return Evaluation(
        results=tuple(results),
        id_accuracy=_id_accuracy(test, knn_classes, given),
        geometry=_geometry(unit[ID_TEST], means, test, given.prototypes),
        separability={name: separability_degrees(unit[ID_TEST], rows, means) for name, rows in of_ood.items()},
        angles={name: nearest_degrees(rows, means).cpu().numpy() for name, rows in unit.items()},
        train=train,
        test=test,
        knn_classes=knn_classes,
        features=unit,
        k=given.k,
        sweep=sweep_k(bank, unit[ID_TEST], of_ood, sweep, positive=positive) if sweep else {},
        positive=positive,
    )


def unit_penultimate(features: Features, name: str) -> Tensor:
    """L2-normalised penultimate features (N, D); a UserError that says `name` where some are not finite."""
    rows = features.unit
    require_finite(rows.isfinite().all(1), f"images of {name}")
    return rows


def require_finite(finite: Tensor, what: str) -> None:
    """Raise a UserError unless the network's output for each of N images is finite (N,); `what` are the images."""
    if broken := int((~finite).sum()):
        raise UserError(
            f"the network's output is not finite for {broken:,} of {len(finite):,} {what}\n"
            "  do         : use --amp off; if that does not help, the checkpoint is of a run that failed"
        )


def _finite(scores: Tensor, score: Score, name: str) -> np.ndarray:
    broken = int((~scores.isfinite()).sum())
    if broken:
        raise UserError(f"--score {score.name} gives no finite number for {broken:,} of {len(scores):,} of {name}")
    return scores.cpu().numpy()


def _result(
    score: Score, k: int, found: dict[str, np.ndarray], positive: str, resamples: int, seed: int
) -> ScoreResult:
    """Metrics of what was `found` for ID_TEST, each OOD set and, where there is one, WHOLE_ID_TEST."""
    ood_scores = dict(found)
    id_scores, whole_id_scores = ood_scores.pop(ID_TEST), ood_scores.pop(WHOLE_ID_TEST, None)

    def metrics(ids: np.ndarray) -> dict[str, dict[str, float]]:
        return {name: ood_metrics(ids, scores, positive=positive) for name, scores in ood_scores.items()}

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
        ood_metrics=metrics(id_scores),
        samples=samples,
        whole_id_metrics=None if whole_id_scores is None else metrics(whole_id_scores),
    )


def _id_accuracy(test: Features, knn_classes: Tensor, given: Ingredients) -> dict[str, float | None]:
    found: dict[str, float | None] = {"knn": accuracy(knn_classes, test.labels), "nearest_prototype": None}
    if given.prototypes is not None:
        classes = nearest_prototype(test.outputs["embedding"], given.prototypes) % given.num_classes
        found["nearest_prototype"] = accuracy(classes, test.labels)
    # CIDER and SupCon leave fc as it was drawn: its accuracy would be chance, and would be taken for the network's.
    if given.classifier is not None:
        heads = {"head1": "logits", "head2": "logits2"} if "logits2" in test.outputs else {"fc": "logits"}
        found |= {head: accuracy(test.outputs[name].argmax(1), test.labels) for head, name in heads.items()}
    return found


def _geometry(rows: Tensor, means: Tensor, test: Features, prototypes: Tensor | None) -> dict[str, float]:
    """Degrees: of penultimate features with class means of ID train, and head/... of head outputs with prototypes."""
    found = {"dispersion": dispersion_degrees(means), "compactness": compactness_degrees(rows, means, test.labels)}
    if prototypes is not None:
        directions = class_directions(prototypes, len(means))
        found["head/dispersion"] = dispersion_degrees(directions)
        found["head/compactness"] = compactness_degrees(test.outputs["embedding"], directions, test.labels)
    return found
