"""The evaluation of a checkpoint on sets of images: features, K of the KNN score, scores and metrics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from utils.checkpoint import Checkpoint
from utils.data.id_records import id_set
from utils.data.id_sets import IDData
from utils.data.images import ImageSet
from utils.data.ood_sets import MissingSet, load_ood
from utils.errors import note
from utils.evaluation.benchmark import Benchmark
from utils.evaluation.evaluation import ID_TEST, ID_TRAIN, WHOLE_ID_TEST, Evaluation, evaluate, unit_penultimate
from utils.evaluation.features import Features, extract, placed
from utils.evaluation.linear_probe import augmented_batches, probe_accuracy
from utils.evaluation.neighbours import CANDIDATES, choose_k
from utils.evaluation.ood import OODSets, lists_of
from utils.evaluation.registry import chosen_scores
from utils.evaluation.score_parts import Ingredients

NOISE = "gaussian-noise"


def evaluate_images(
    checkpoint: Checkpoint,
    data: IDData,
    ood: OODSets,
    benchmark: Benchmark,
    extraction: Mapping[str, Any],
    *,
    scores: Sequence[str] = (),
    k: int | str | None = None,
    ood_root: Path | None = None,
    linear_probe: str | None = None,
    seed: int = 0,
    **settings: Any,
) -> Evaluation:
    """All scores and metrics of a checkpoint.

    Args:
        extraction: `device`, where scores are computed, too, and what else `extract` has beside model and images.
        scores: names; () for the usual one of the checkpoint's method.
        k: of the KNN score; "auto" for the best against noise, None for that of the benchmark or the ID set.
        ood_root: folder of OOD sets, for validation images of the benchmark; None for the default place.
        linear_probe: also ID accuracy by a probe on "cached" or "augmented" features.
        seed: of noise, bootstrap and probe.    settings: others of `evaluate`.
    Raises:
        UserError: a score that the checkpoint can not give, or features or scores that are not finite.
    """
    device, method = extraction["device"], checkpoint.method
    workers = extraction.get("workers", 0)
    given = Ingredients.of(checkpoint, k=1, device=device, mean=data.mean, std=data.std, workers=workers)
    chosen, left_out = chosen_scores(scores or [method.score], given, method.label)
    for reason in left_out:
        note(reason)
    model = placed(checkpoint.model, device)
    features_of = partial(extract, model, mean=data.mean, std=data.std, checkpoint_sha=checkpoint.sha256, **extraction)
    train, whole = features_of(data.train), features_of(data.test)
    others = {each.name: features_of(each.images) for each in ood.sets}
    images = {ID_TEST: data.test, WHOLE_ID_TEST: data.test, **{each.name: each.images for each in ood.sets}}
    test = validation = whole
    if benchmark.lists:
        rows = lists_of(benchmark).id_rows(data)
        test, validation = whole.subset(rows.test), whole.subset(rows.validation)
        images[ID_TEST] = data.test.subset(rows.test)
    notes = []
    choice = _KChoice(data, train, features_of, device)
    if k == "auto":
        k, how = choice.by_noise(test, seed, noise_is_scored=any(each.of == NOISE for each in ood.sets))
        notes.append(how)
    elif k is None and benchmark.lists:
        k, how = choice.by_validation(validation, benchmark, ood_root)
        notes.append(how)
    if benchmark.lists and not rows.whole:
        notes.append(f"ID test is not {benchmark.label}'s whole one: {len(rows.test):,} images of it are there")
    evaluation = evaluate(
        train,
        test,
        others,
        scores=chosen,
        given=replace(given, k=k or choice.usual, num_classes=len(data.class_names)),
        images=images,
        seed=seed,
        whole=whole if benchmark.lists else None,
        **settings,
    )
    probed = _probed(linear_probe, model, data, evaluation, extraction, seed) if linear_probe else {}
    return replace(evaluation, id_accuracy=evaluation.id_accuracy | probed, notes=tuple(notes))


class _KChoice:
    """Finds the K of the KNN score, where nobody has given it, by images that are no OOD test set.

    Args:
        train: features of ID train.    features_of: images -> their features.    device: to search on.
    Attributes:
        usual: K of the ID set.
    """

    def __init__(
        self, data: IDData, train: Features, features_of: Callable[[ImageSet], Features], device: torch.device
    ) -> None:
        self._data, self._train, self._features_of, self._device = data, train, features_of, device
        self.usual = min(id_set(data.name).k, len(data.train))

    def by_noise(self, test: Features, seed: int, *, noise_is_scored: bool) -> tuple[int, str]:
        """The best against Gaussian noise, and the note on it."""
        noise = load_ood(NOISE, self._data, seed=seed + 1)  # not that which may be in the table: another seed
        k, found = self._best(test, noise, self.usual, CANDIDATES)
        how = f"K={k} chosen by the AUROC of ID test against Gaussian noise alone ({found})"
        but = f", but {NOISE} is noise of that kind" if noise_is_scored else ""
        return k, f"{how}; no OOD test set was looked at{but}"

    def by_validation(self, validation: Features, benchmark: Benchmark, ood_root: Path | None) -> tuple[int, str]:
        """The best on the benchmark's validation images, and the note on it; the usual one where they are missing."""
        try:
            images = lists_of(benchmark).validation_set(self._data, ood_root)
        except MissingSet as error:
            reason = str(error).splitlines()[0]
            return self.usual, f"K={self.usual} is not chosen as {benchmark.label} does it: {reason}"
        k, found = self._best(validation, images, None, benchmark.neighbours)
        count = len(validation.labels)
        return k, f"K={k} chosen by the AUROC of {count:,} ID validation images against {images.name} ({found})"

    def _best(
        self, id_features: Features, images: ImageSet, usual: int | None, candidates: Sequence[int]
    ) -> tuple[int, str]:
        """As `choose_k`, with the AUROCs in words."""
        sides = (self._train, ID_TRAIN), (id_features, ID_TEST), (self._features_of(images), images.name)
        rows = (unit_penultimate(features.to(self._device), name) for features, name in sides)
        k, aurocs = choose_k(*rows, usual, candidates)
        return k, ", ".join(f"{each}: {100 * auroc:.2f}" for each, auroc in aurocs.items())


def _probed(
    kind: str, model: nn.Module, data: IDData, evaluation: Evaluation, extraction: Mapping[str, Any], seed: int
) -> dict[str, float]:
    """ID accuracy by a linear probe on "cached" or "augmented" features, by the name that it has."""
    device, name, batches = extraction["device"], "linear_probe", None
    if kind == "augmented":
        how_read = {name: extraction[name] for name in ("amp", "workers") if name in extraction}
        name = "linear_probe_augmented"
        batches = augmented_batches(model, data, seed=seed, device=device, **how_read)
    classes = len(data.class_names)
    return {name: probe_accuracy(evaluation.train, evaluation.test, classes, seed=seed, device=device, batches=batches)}
