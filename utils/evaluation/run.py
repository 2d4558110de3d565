"""The evaluation of a checkpoint on sets of images: features, K of the KNN score, scores and metrics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from utils.checkpoint import Checkpoint
from utils.data.id_records import id_set
from utils.data.id_sets import IDData
from utils.data.images import ImageSet
from utils.data.ood_sets import MissingSet, load_ood
from utils.errors import note
from utils.evaluation.benchmark import Benchmark
from utils.evaluation.evaluation import ID_TEST, WHOLE_ID_TEST, Evaluation, evaluate, unit_penultimate
from utils.evaluation.features import Features, extract
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
    model = checkpoint.model.to(device)
    features_of = partial(extract, model, mean=data.mean, std=data.std, checkpoint_sha=checkpoint.sha256, **extraction)
    train, whole = features_of(data.train), features_of(data.test)
    others = {each.name: features_of(each.images) for each in ood.sets}
    images = {ID_TEST: data.test, WHOLE_ID_TEST: data.test, **{each.name: each.images for each in ood.sets}}
    test, validation, notes = whole, whole, []
    if benchmark.lists:
        rows = lists_of(benchmark).id_rows(data)
        test, validation = whole.subset(rows.test), whole.subset(rows.validation)
        images[ID_TEST] = data.test.subset(rows.test)
        if not rows.whole:
            notes = [f"ID test is not {benchmark.label}'s whole one: {len(rows.test):,} images of it are there"]

    k, how = _neighbour(k, data, ood, benchmark, ood_root, seed, device, features_of, train, test, validation)
    evaluation = evaluate(
        train,
        test,
        others,
        scores=chosen,
        given=replace(given, k=k, num_classes=len(data.class_names)),
        images=images,
        seed=seed,
        whole=whole if benchmark.lists else None,
        **settings,
    )
    id_accuracy = dict(evaluation.id_accuracy)
    if linear_probe:
        batches = None
        if linear_probe == "augmented":
            how_read = {name: extraction[name] for name in ("amp", "workers", "channels_last") if name in extraction}
            batches = augmented_batches(model, data, seed=seed, device=device, **how_read)
        name = "linear_probe_augmented" if batches else "linear_probe"
        id_accuracy[name] = probe_accuracy(
            train, test, len(data.class_names), seed=seed, device=device, batches=batches
        )
    return replace(evaluation, id_accuracy=id_accuracy, notes=(*how, *notes))


def _neighbour(
    wanted: int | str | None,
    data: IDData,
    ood: OODSets,
    benchmark: Benchmark,
    ood_root: Path | None,
    seed: int,
    device: torch.device,
    features_of: Callable[[ImageSet], Features],
    train: Features,
    test: Features,
    validation: Features,
) -> tuple[int, list[str]]:
    """K of the KNN score, and the note on how it was chosen where nobody gave it."""
    usual = min(id_set(data.name).k, len(data.train))
    automatic = wanted == "auto"
    if not automatic and (wanted or not benchmark.lists):
        return wanted or usual, []
    if automatic:
        # Not the noise that may be in the table: another seed.
        id_features, images, candidates = test, load_ood(NOISE, data, seed=seed + 1), CANDIDATES
    else:
        try:
            images = lists_of(benchmark).validation_set(data, ood_root)
        except MissingSet as error:
            return usual, [f"K={usual} is not chosen as {benchmark.label} does it: {str(error).splitlines()[0]}"]
        id_features, candidates = validation, benchmark.neighbours
    rows = (
        unit_penultimate(features.to(device), name)
        for features, name in ((train, "ID train"), (id_features, "ID test"), (features_of(images), images.name))
    )
    k, aurocs = choose_k(*rows, usual if automatic else None, candidates)
    found = ", ".join(f"{each}: {100 * auroc:.2f}" for each, auroc in aurocs.items())
    if not automatic:
        count = len(validation.labels)
        return k, [f"K={k} chosen by the AUROC of {count:,} ID validation images against {images.name} ({found})"]
    line = f"K={k} chosen by the AUROC of ID test against Gaussian noise alone ({found}); no OOD test set was looked at"
    return k, [f"{line}, but {NOISE} is noise of that kind" if any(each.of == NOISE for each in ood.sets) else line]
