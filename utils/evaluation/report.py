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
from utils.evaluation.drawing import Album
from utils.evaluation.evaluation import ID_TEST, Evaluation, ScoreResult
from utils.evaluation.folder import remove_pictures
from utils.evaluation.names import ORIENTATION
from utils.evaluation.ood import OODSets
from utils.evaluation.projection import MOST_POINTS, project, sample_rows
from utils.evaluation.projector import write_projector
from utils.evaluation.tables import Mean, Row, Table
from utils.files import atomic_write


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
    style: str,
    projector: bool,
    seed: int,
) -> list[Path]:
    """Write numbers, tables and pictures, and remove the pictures of an earlier evaluation that are not drawn anew.

    Args:
        found: a table per score, in the order of `evaluation.results`.    swept: a table per K of the sweep.
        ood: the sets in them.
        about: what else metrics.json should state: checkpoint, command, settings, versions.
        prototypes: of the head's space, or None.    projection: of the features: "tsne", "pca" or "none".
        style: of the figures, see `Album`.    projector: also export features for TensorBoard.
        seed: of what is drawn by chance.
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
            album = Album(folder, _what_it_is_of(found[0], about), style)
            drawn = draw(album, found[0], evaluation, class_names, prototypes, projection=projection, seed=seed)
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


def _what_it_is_of(table: Table, about: dict[str, Any]) -> str:
    run = Path(about["checkpoint"]["path"]).parent.name
    return f"{table.method} {table.arch}, {table.id_set}, {run}, epoch {table.epoch}"


def draw(
    album: Album,
    table: Table,
    evaluation: Evaluation,
    class_names: tuple[str, ...],
    prototypes: Tensor | None,
    *,
    projection: str,
    seed: int,
) -> list[Path]:
    """Draw histograms and ROC curves of the first score, angles, features and prototypes; returns the figures' paths.

    The discrepancy of MCD has a figure of its own besides, and so have near and far sets, where there are such groups,
    and a sweep over K. Other arguments are as in `write`.
    """
    result, *_ = evaluation.results
    drawn = _draw_score(album, result)
    for other in evaluation.results:
        if other.name == "discrepancy":
            subtitles = _subtitles(other)
            drawn.append(
                plots.discrepancy_histograms(
                    album, other.id_scores, other.ood_scores, len(class_names), subtitles=subtitles
                )
            )
    if grouped := [row for row in table.rows if row.group in ("near", "far")]:
        drawn.append(plots.near_and_far(album, list(map(_set_result, grouped))))
    others = {name: angles for name, angles in evaluation.angles.items() if name != ID_TEST}
    drawn.append(plots.angle_histograms(album, evaluation.angles[ID_TEST], others, evaluation.separability))
    if projection != "none":
        drawn.append(_draw_features(album, evaluation, class_names, projection, seed))
    if prototypes is not None and len(prototypes) == len(class_names):
        drawn.append(feature_plots.prototype_angles(album, prototypes.cpu().numpy(), class_names))
    if evaluation.sweep:
        drawn.append(plots.metrics_over_k(album, evaluation.sweep, evaluation.k))
    return drawn


def _draw_score(album: Album, result: ScoreResult) -> list[Path]:
    distance = result.name == "knn"
    nearest = "distance to the K-th nearest ID training image, smaller = more ID"
    aurocs = {name: found["auroc"] for name, found in result.ood_metrics.items()}
    return [
        plots.score_histograms(
            album,
            result.id_scores,
            result.ood_scores,
            result.threshold,
            label=f"{result.shown}: {nearest}" if distance else f"{result.shown} score, {ORIENTATION}",
            subtitles=_subtitles(result),
            distance=distance,
        ),
        plots.roc_curves(album, result.id_scores, result.ood_scores, aurocs),
    ]


def _set_result(row: Row) -> plots.SetResult:
    ends = row.samples and {metric: interval(values) for metric, values in row.samples.items()}
    return plots.SetResult(row.name, row.group, row.official, row.metrics, ends)


def _draw_features(
    album: Album, evaluation: Evaluation, class_names: tuple[str, ...], projection: str, seed: int
) -> Path:
    each = MOST_POINTS[projection] // len(evaluation.features)
    chosen = {name: sample_rows(rows, each, seed) for name, rows in evaluation.features.items()}
    found = project({name: evaluation.features[name][rows] for name, rows in chosen.items()}, ID_TEST, projection, seed)
    labels = evaluation.test.labels[chosen[ID_TEST]].numpy()
    return feature_plots.feature_projection(
        album,
        found.points,
        ID_TEST,
        labels,
        name=f"features_{projection}",
        axis_labels=found.axes,
        class_names=class_names,
    )


def _subtitles(result: ScoreResult) -> dict[str, str]:
    return {
        name: f"FPR95 {100 * found['fpr95']:.1f}  AUROC {100 * found['auroc']:.1f}"
        for name, found in result.ood_metrics.items()
    }
