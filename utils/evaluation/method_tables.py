"""The tables of an evaluation and the lines below them: accuracy, geometry, thresholds, how K was chosen."""

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

NOISE = "gaussian-noise"
FEW_IMAGES = 100  # with fewer, a single image moves FPR95 by more than a point


def make_tables(
    checkpoint: Checkpoint,
    data: IDData,
    ood: OODSets,
    evaluation: Evaluation,
    *,
    benchmark: Benchmark,
    positive: str,
    scored: Mapping[str, Any] | None,
    notes: Sequence[str],
) -> list[Table]:
    """A table per score; what is true of the checkpoint and its images stands below each.


    A method that saw unlabelled OOD images has a mark, and so has each set that it saw some of.

    Args:
        scored: as `what_is_scored` says it.    notes: others, on this evaluation.
    """
    unlabelled = unlabelled_of(checkpoint)
    mark = MARKS[unlabelled["mode"]] if unlabelled else ""
    chosen = unlabelled.get("epoch") if unlabelled else None
    config = checkpoint.model.config
    common = (
        accuracy_line(evaluation.id_accuracy),
        geometry_line(evaluation.geometry),
        separability_line(evaluation.separability),
        *([scored_note(scored)] if scored else []),
        *notes,
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
            epoch_note="" if chosen in (None, checkpoint.epoch) else f"weights of epoch {chosen}",
            rows=_rows(result, ood, mark, unlabelled["ood"] if unlabelled else ()),
            missing=ood.missing,
            notes=common,
            score_notes=threshold_lines(result),
            positive=positive,
            mark=mark,
            footnote=footnote(unlabelled) if unlabelled else "",
            groups={group: len(members) for group, members in benchmark.groups.get(data.name, {}).items()},
        )
        for result in evaluation.results
    ]


def sweep_tables(table: Table, sweep: dict[int, dict[str, dict[str, float]]]) -> list[Table]:
    """Tables like `table`, one for each K of the KNN score."""
    notes = ("K as a function of the test sets: for information, not for choosing K",)
    return [
        replace(
            table,
            score=f"KNN (K={k})",
            rows=[replace(row, metrics=found[row.name], samples=None) for row in table.rows],
            notes=notes,
            score_notes=(),
        )
        for k, found in sweep.items()
    ]


def _rows(result: ScoreResult, ood: OODSets, mark: str, seen: Sequence[str]) -> list[Row]:
    """A row for each OOD set, with the mark where the training has seen a part of it."""
    return [
        Row(
            name=each.name,
            images=len(each.images),
            metrics=result.ood_metrics[each.name],
            official=each.official,
            group=each.group,
            samples=None if result.samples is None else result.samples[each.name],
            mark=mark if each.whole in seen else "",
        )
        for each in ood.sets
    ]


def size_notes(data: IDData, ood: OODSets, largest_k: int) -> list[str]:
    """What is to be known of figures from few images."""
    notes = []
    smallest = int(torch.bincount(data.train.labels, minlength=len(data.class_names)).min())
    if largest_k > smallest:
        notes.append(
            f"K={largest_k} is more than the {smallest:,} training images of the smallest class: its images are "
            "compared with those of other classes as well"
        )
    few = [f"{each.name} has {len(each.images):,}" for each in ood.sets if len(each.images) < FEW_IMAGES]
    few += [f"{ID_TEST} has {len(data.test):,}"] if len(data.test) < FEW_IMAGES else []
    if few:
        notes.append(f"too few images for a figure to rely on: {', '.join(few)} (at least {FEW_IMAGES} are needed)")
    return notes


def accuracy_line(found: dict[str, float | None]) -> str:
    """ID accuracy in words."""
    names = {
        "knn": "KNN",
        "nearest_prototype": "nearest prototype",
        "fc": "fc",
        "head1": "head 1",
        "head2": "head 2",
        "linear_probe": "linear probe",
        "linear_probe_augmented": "linear probe (augmented)",
    }
    shares = (
        f"{names[way]} {'not known (no prototypes in the checkpoint)' if share is None else f'{100 * share:.2f} %'}"
        for way, share in found.items()
    )
    return f"ID accuracy: {', '.join(shares)}"


def geometry_line(degrees: dict[str, float]) -> str:
    """Embedding geometry in words; figures of the head's space carry its name."""
    return "embedding: " + ", ".join(f"{name} {angle:.1f}°" for name, angle in degrees.items())


def separability_line(degrees: dict[str, float]) -> str:
    """Separability in words: how much farther from the class means OOD lies than ID."""
    sets = ", ".join(f"{name} {angle:.1f}°" for name, angle in degrees.items())
    return f"separability from ID: {sets}; mean {sum(degrees.values()) / len(degrees):.1f}°"


def threshold_lines(result: ScoreResult) -> tuple[str, ...]:
    """The threshold of a score whose sigmoid is shown, in both forms."""
    if not result.probability:
        return ()
    shown = float(torch.tensor(result.threshold, dtype=torch.float64).sigmoid())
    return (f"threshold for 95 % ID recall: {shown:.6g}, the sigmoid of {result.threshold:.4g} that is ranked",)


def chosen_k_line(k: int, aurocs: dict[int, float], ood: OODSets) -> str:
    """How K was chosen, for the notes of a table."""
    found = ", ".join(f"{each}: {100 * auroc:.2f}" for each, auroc in aurocs.items())
    line = f"K={k} chosen by the AUROC of ID test against Gaussian noise alone ({found}); no OOD test set was looked at"
    if any(each.of == NOISE for each in ood.sets):
        line += f", but {NOISE} is noise of that kind"
    return line
