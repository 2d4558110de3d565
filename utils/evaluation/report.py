"""What an evaluation leaves in its folder: metrics.json, tables, scores.npz and pictures."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from utils.errors import UserError
from utils.evaluation import feature_plots, plots, tables
from utils.evaluation.bootstrap import LEVEL, interval
from utils.evaluation.evaluation import ID_TEST, Evaluation, ScoreResult
from utils.evaluation.folder import remove_pictures
from utils.evaluation.names import ORIENTATION
from utils.evaluation.ood import OODSets
from utils.evaluation.projection import on_ordinary_sphere, project, sample_rows
from utils.evaluation.projector import write_projector
from utils.evaluation.tables import Mean, Row, Table
from utils.files import atomic_write

# More points than these in one picture would hide each other.
POINTS_PER_SET = 1000
POINTS_ON_SPHERE = 2000


def write(
    folder: Path,
    found: Sequence[Table],
    swept: Sequence[Table],
    ood: OODSets,
    evaluation: Evaluation,
    about: dict[str, Any],
    *,
    class_names: tuple[str, ...],
    prototypes: Tensor | None,
    pictures: bool,
    projection: str,
    projector: bool,
    seed: int,
) -> list[Path]:
    """Write numbers, tables and pictures, and remove the pictures of an earlier evaluation that are not drawn anew.

    Args:
        found: a table per score, in the order of `evaluation.results`.    swept: a table per K of the sweep.
        ood: the sets in them.
        about: what else metrics.json should state: checkpoint, command, settings, versions.
        prototypes: of the head's space, or None.    projection: of the features: "pca", "tsne" or "none".
        projector: also export features for TensorBoard.    seed: of what is drawn by chance.
    Returns:
        what is there now, but for PDFs.
    Raises:
        UserError: the disk refuses a file.
    """
    try:
        written = write_numbers(folder, found, ood, evaluation, about)
        if swept:
            written += write_tables(folder, "k_sweep", swept)
        drawn = []
        if pictures:
            drawn = draw(
                folder, evaluation, class_names=class_names, prototypes=prototypes, projection=projection, seed=seed
            )
        remove_pictures(folder, drawn)
        if projector:
            drawn.append(write_projector(folder, evaluation, class_names, seed=seed))
    except OSError as error:
        raise UserError(f"the results could not be written: {error}\n  do         : pass --out DIR") from error
    return written + drawn


def write_numbers(
    folder: Path, found: Sequence[Table], ood: OODSets, evaluation: Evaluation, about: dict[str, Any]
) -> list[Path]:
    """Write metrics.json, the table in four formats, and scores.npz, which holds no pickles; returns their paths.

    The first score's numbers stand in metrics.json under their own names as well as below "scores", and in scores.npz
    as "id" and "ood/SET"; other scores are "NAME/id" and "NAME/ood/SET" there.

    Args:
        found: a table per score, in the order of `evaluation.results`.    ood: the sets in them.
    """
    paths = [folder / "metrics.json", folder / "scores.npz"]
    with atomic_write(paths[0], "w") as stream:
        json.dump(_metrics(found, ood, evaluation) | about, stream, indent=2, ensure_ascii=False)
    with atomic_write(paths[1]) as stream:
        np.savez(
            stream,
            id_labels=evaluation.test.labels.numpy(),
            id_knn_classes=evaluation.knn_classes.numpy(),
            **_score_arrays(evaluation.results),
        )
    return paths + write_tables(folder, "table", found)


def write_tables(folder: Path, name: str, found: Sequence[Table]) -> list[Path]:
    """Write NAME.txt, .md, .tex and .csv; returns their paths."""
    paths = [folder / f"{name}.{suffix}" for suffix in tables.FORMATS]
    for path, form in zip(paths, tables.FORMATS.values(), strict=True):
        with atomic_write(path, "w") as stream:
            stream.write(form(*found))
    return paths


def _score_arrays(results: Sequence[ScoreResult]) -> dict[str, np.ndarray]:
    arrays = {}
    for place, result in enumerate(results):
        prefix = f"{result.name}/" if place else ""
        arrays[f"{prefix}id"] = result.id_scores
        arrays |= {f"{prefix}ood/{name}": scores for name, scores in result.ood_scores.items()}
    return arrays


def _metrics(found: Sequence[Table], ood: OODSets, evaluation: Evaluation) -> dict[str, Any]:
    """Metrics as fractions, and what they mean."""
    first = found[0]
    entries = {
        result.name: _score_entry(table, ood, result) for table, result in zip(found, evaluation.results, strict=True)
    }
    return {
        "method": first.method,
        "arch": first.arch,
        "id_set": first.id_set,
        "epoch": first.epoch,
        "orientation": ORIENTATION,
        "positive": first.positive,
        "id_images": len(evaluation.test.labels),
        **next(iter(entries.values())),
        "scores": entries,
        "missing": {missing.name: missing.reason for missing in first.missing},
        "id_accuracy": evaluation.id_accuracy,
        "geometry_degrees": evaluation.geometry,
        "separability_degrees": evaluation.separability,
        **({"k_sweep": evaluation.sweep} if evaluation.sweep else {}),
        "notes": [*first.notes, *(note for table in found for note in table.score_notes)],
    }


def _score_entry(table: Table, ood: OODSets, result: ScoreResult) -> dict[str, Any]:
    """What one score gives: metrics of each set and of each mean, with intervals where there are resamples."""
    sets = {
        row.name: {
            "images": row.images,
            "set": each.of or None,
            "whole_images": each.total,
            "official": row.official,
            "group": row.group,
            **_with_intervals(row),
        }
        for each, row in zip(ood.sets, table.rows, strict=True)
    }
    means = {
        mean.group: {"sets": [row.name for row in mean.rows], "label": mean.label, **_with_intervals(mean)}
        for mean in table.means
    }
    return {
        "score": result.shown,
        "k": result.k,
        "threshold_at_95_percent_id_recall": result.threshold,
        "ood": sets,
        **({"with_whole_id_test": result.whole_id_metrics} if result.whole_id_metrics else {}),
        **means,
    }


def _with_intervals(part: Row | Mean) -> dict[str, Any]:
    if part.samples is None:
        return dict(part.metrics)
    key = f"bootstrap_{100 * LEVEL:.0f}_percent"
    return {**part.metrics, key: {metric: interval(values) for metric, values in part.samples.items()}}


def draw(
    folder: Path,
    evaluation: Evaluation,
    *,
    class_names: tuple[str, ...],
    prototypes: Tensor | None,
    projection: str,
    seed: int,
) -> list[Path]:
    """Draw histograms and ROC curves of the first score, angles, features and prototypes; returns the PNGs' paths.

    The discrepancy of MCD has a figure of its own besides, and so has a sweep over K. Arguments are as in `write`.
    """
    drawn = _draw_score(folder, evaluation.results[0])
    for result in evaluation.results:
        if result.name == "discrepancy":
            drawn.append(folder / "discrepancy")
            plots.discrepancy_histograms(
                drawn[-1], result.id_scores, result.ood_scores, len(class_names), subtitles=_subtitles(result)
            )
    drawn.append(folder / "angles")
    others = {name: angles for name, angles in evaluation.angles.items() if name != ID_TEST}
    plots.angle_histograms(drawn[-1], evaluation.angles[ID_TEST], others, evaluation.separability)
    if projection != "none":
        drawn.append(folder / f"features_{projection}")
        shown = {name: rows[sample_rows(rows, POINTS_PER_SET, seed)] for name, rows in evaluation.features.items()}
        label = "principal component" if projection == "pca" else "t-SNE"
        feature_plots.feature_projection(drawn[-1], project(shown, ID_TEST, projection, seed), ID_TEST, label=label)
    if prototypes is not None:
        drawn.append(folder / "prototypes")
        embedding = evaluation.test.outputs["embedding"]
        some = sample_rows(embedding, POINTS_ON_SPHERE, seed)
        on_sphere = on_ordinary_sphere(prototypes, embedding[some])
        feature_plots.prototypes_on_sphere(drawn[-1], *on_sphere, evaluation.test.labels[some].numpy(), class_names)
    if evaluation.sweep:
        drawn.append(folder / "k_sweep")
        plots.metrics_over_k(drawn[-1], evaluation.sweep, evaluation.k)
    return [path.with_name(f"{path.name}.png") for path in drawn]


def _draw_score(folder: Path, result: ScoreResult) -> list[Path]:
    plots.score_histograms(
        folder / "histograms",
        result.id_scores,
        result.ood_scores,
        result.threshold,
        label=f"{result.shown} score, {ORIENTATION}",
        subtitles=_subtitles(result),
    )
    aurocs = {name: found["auroc"] for name, found in result.ood_metrics.items()}
    plots.roc_curves(folder / "roc", result.id_scores, result.ood_scores, aurocs)
    return [folder / "histograms", folder / "roc"]


def _subtitles(result: ScoreResult) -> dict[str, str]:
    return {
        name: f"FPR95 {100 * found['fpr95']:.1f}  AUROC {100 * found['auroc']:.1f}"
        for name, found in result.ood_metrics.items()
    }
