"""The tables of an evaluation, with what stands below them: accuracy, geometry, thresholds, what is to be known."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from utils.checkpoint import Checkpoint
from utils.data.id_sets import IDData
from utils.evaluation.benchmark import Benchmark
from utils.evaluation.evaluation import ID_TEST, Evaluation, ScoreResult
from utils.evaluation.names import arch_label
from utils.evaluation.ood import OODSets
from utils.evaluation.scored import MARKS, footnote, scored_note, unlabelled_of
from utils.evaluation.tables import Row, Table

FEW_IMAGES = 100  # with fewer, a single image moves FPR95 by more than a point
CLASSIFIERS = {
    "knn": "KNN",
    "nearest_prototype": "nearest prototype",
    "head1": "head 1",
    "head2": "head 2",
    "linear_probe": "linear probe",
    "linear_probe_augmented": "linear probe (augmented)",
}


def make_tables(
    checkpoint: Checkpoint,
    data: IDData,
    ood: OODSets,
    evaluation: Evaluation,
    *,
    benchmark: Benchmark,
    scored: Mapping[str, Any] | None,
    notes: Sequence[str],
) -> list[Table]:
    """A table per score; what is true of the checkpoint and its images stands below each.

    A method that saw unlabelled OOD images has a mark, and so has each set that it saw some of.

    Args:
        scored: as `what_is_scored` says it.    notes: others, on this evaluation.
    """
    unlabelled = unlabelled_of(checkpoint) or {}
    chosen = unlabelled.get("epoch") or checkpoint.epoch
    config = checkpoint.model.config
    common = (
        *_facts(evaluation),
        *([scored_note(scored)] if scored else []),
        *notes,
        *_size_notes(data, ood, evaluation),
        *data.notes,
        *benchmark.notes,
    )
    return [
        Table(
            method=checkpoint.method.label,
            arch=arch_label(config["arch"], config["width"]),
            id_set=data.name,
            score=result.shown,
            epoch=checkpoint.epoch,
            epoch_note="" if chosen == checkpoint.epoch else f"weights of epoch {chosen}",
            rows=_rows(result, ood, unlabelled),
            missing=ood.missing,
            notes=common,
            score_notes=_threshold(result),
            positive=evaluation.positive,
            footnote=footnote(unlabelled) if unlabelled else "",
            groups={group: len(members) for group, members in benchmark.groups.get(data.name, {}).items()},
        )
        for result in evaluation.results
    ]


def sweep_tables(table: Table, sweep: dict[int, dict[str, dict[str, float]]]) -> list[Table]:
    """Tables like `table`, one for each K of the KNN score."""
    notes = ("K as a function of the test sets: for information, not for choosing K",)
    tables = []
    for k, found in sweep.items():
        rows = [replace(row, metrics=found[row.name], samples=None) for row in table.rows]
        tables.append(replace(table, score=f"KNN (K={k})", rows=rows, notes=notes, score_notes=()))
    return tables


def _rows(result: ScoreResult, ood: OODSets, unlabelled: Mapping[str, Any]) -> list[Row]:
    return [
        Row(
            name=each.name,
            images=len(each.images),
            metrics=result.ood_metrics[each.name],
            official=each.official,
            group=each.group,
            samples=result.samples and result.samples[each.name],
            mark=MARKS[unlabelled["mode"]] if each.whole.name in unlabelled.get("ood", ()) else "",
        )
        for each in ood.sets
    ]


def _facts(evaluation: Evaluation) -> list[str]:
    """ID accuracy, and the geometry of the embedding: figures of the head's space carry its name."""
    unknown = "not known (no prototypes in the checkpoint)"
    shares = [
        f"{CLASSIFIERS.get(way, way)} {unknown if share is None else f'{100 * share:.2f} %'}"
        for way, share in evaluation.id_accuracy.items()
    ]
    degrees = evaluation.separability
    geometry, separability = (
        ", ".join(f"{name} {angle:.1f}°" for name, angle in found.items()) for found in (evaluation.geometry, degrees)
    )
    return [
        f"ID accuracy: {', '.join(shares)}",
        f"embedding: {geometry}",
        f"separability from ID: {separability}; mean {sum(degrees.values()) / len(degrees):.1f}°",
    ]


def _size_notes(data: IDData, ood: OODSets, evaluation: Evaluation) -> list[str]:
    """What is to be known of figures from few images."""
    notes = []
    smallest = int(torch.bincount(data.train.labels, minlength=len(data.class_names)).min())
    if evaluation.k > smallest:
        notes.append(
            f"K={evaluation.k} is more than the {smallest:,} training images of the smallest class: its images are "
            "compared with those of other classes as well"
        )
    counts = {each.name: len(each.images) for each in ood.sets} | {ID_TEST: len(data.test)}
    if few := [f"{name} has {count:,}" for name, count in counts.items() if count < FEW_IMAGES]:
        notes.append(f"too few images for a figure to rely on: {', '.join(few)} (at least {FEW_IMAGES} are needed)")
    return notes


def _threshold(result: ScoreResult) -> tuple[str, ...]:
    """The threshold of a score whose sigmoid is shown, in both forms."""
    if not result.probability:
        return ()
    shown = float(torch.tensor(result.threshold, dtype=torch.float64).sigmoid())
    return (f"threshold for 95 % ID recall: {shown:.6g}, the sigmoid of {result.threshold:.4g} that is ranked",)
