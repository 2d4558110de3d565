"""What an evaluation leaves in its folder: metrics.json, tables, scores.npz and pictures."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from utils.checkpoint import Checkpoint
from utils.data.id_sets import IDData
from utils.evaluation import feature_plots, plots, tables
from utils.evaluation.bootstrap import LEVEL, interval
from utils.evaluation.drawing import Album
from utils.evaluation.evaluation import ID_TEST, ID_TRAIN, Evaluation, ScoreResult
from utils.evaluation.names import ORIENTATION
from utils.evaluation.ood import OODSets
from utils.evaluation.projection import MOST_POINTS, project, sample_rows
from utils.evaluation.tables import Mean, Row, Table
from utils.files import atomic_write, portable
from utils.prototypes import class_directions

PICTURES = "histograms roc near_far angles features_pca features_tsne prototypes discrepancy k_sweep".split()


def write_numbers(
    folder: Path, found: Sequence[Table], ood: OODSets, evaluation: Evaluation, facts: Mapping[str, Any]
) -> list[Path]:
    """Write metrics.json, the table in four formats, and scores.npz, which holds no pickles; returns their paths.

    The first score's numbers stand in metrics.json under their own names as well as below "scores", and in scores.npz
    as "id" and "ood/SET"; other scores are "NAME/id" and "NAME/ood/SET" there.

    Args:
        found: a table per score, in the order of `evaluation.results`.    ood: the sets in them.
        facts: what else metrics.json should state, see `about`.
    """
    metrics, arrays = folder / "metrics.json", folder / "scores.npz"
    scores = {"id_labels": evaluation.test.labels.numpy(), "id_knn_classes": evaluation.knn_classes.numpy()}
    for place, result in enumerate(evaluation.results):
        prefix = f"{result.name}/" if place else ""
        scores[f"{prefix}id"] = result.id_scores
        scores |= {f"{prefix}ood/{name}": values for name, values in result.ood_scores.items()}
    with atomic_write(arrays) as stream:
        np.savez(stream, **scores)
    written = write_tables(folder, "table", found)
    # Last, for by it a plan of many runs knows that the rest is there.
    with atomic_write(metrics, "w") as stream:
        json.dump(_metrics(found, ood, evaluation) | facts, stream, indent=2, ensure_ascii=False)
    return [metrics, arrays, *written]


def write_tables(folder: Path, name: str, found: Sequence[Table]) -> list[Path]:
    """Write NAME.txt, .md, .tex and .csv; returns their paths."""
    paths = [folder / f"{name}.{suffix}" for suffix in tables.FORMATS]
    for path, form in zip(paths, tables.FORMATS.values(), strict=True):
        with atomic_write(path, "w") as stream:
            stream.write(form(*found))
    return paths


def about(checkpoint: Checkpoint, data: IDData, ood: OODSets, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What metrics.json states to do the same again, and of which images: checkpoint, images, commands, settings.

    Args:
        settings: the command line by option, as JSON knows it.
    """
    images = {ID_TRAIN: data.train, ID_TEST: data.test, **{each.name: each.images for each in ood.sets}}
    return {
        "checkpoint": {
            "path": portable(checkpoint.path),
            "sha256": checkpoint.sha256,
            "method": checkpoint.method.name,
            "epoch": checkpoint.epoch,
            "model": checkpoint.model.config,
            "trained_with": checkpoint.args,
        },
        "class_names": list(data.class_names),
        "normalisation": {"size": data.size, "mean": data.mean, "std": data.std},
        "id_train_images": len(data.train),
        "id_files_official": data.official,
        "images_sha256": {name: each.fingerprint for name, each in images.items()},
        "commands": {
            "train": checkpoint.args.get("command"),
            "evaluate": _command(checkpoint, data.name, settings["command"]),
        },
        "settings": dict(settings),
    }


def _command(checkpoint: Checkpoint, id_name: str, options: str) -> str:
    """The command of an evaluation, in which the checkpoint is that of the command that trained it, or a file."""
    trained = checkpoint.args
    if trained.get("command"):
        which = ["--in-dataset", trained["in_dataset"], "--name", trained["name"], "--epoch", str(checkpoint.epoch)]
    else:
        which = ["--in-dataset", id_name, "--ckpt", checkpoint.path.name]
    python, script, *others = shlex.split(options)
    return shlex.join([python, script, *which, *others])


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
        "missing": dict(first.missing),
        "id_accuracy": evaluation.id_accuracy,
        "geometry_degrees": evaluation.geometry,
        "separability_degrees": evaluation.separability,
        **({"k_sweep": evaluation.sweep} if evaluation.sweep else {}),
        "notes": [*first.notes, *(note for table in found for note in table.score_notes)],
    }


def _score_entry(table: Table, ood: OODSets, result: ScoreResult) -> dict[str, Any]:
    """What one score gives: metrics of each set and of each mean, with intervals where there are resamples."""
    return {
        "score": result.shown,
        "k": result.k,
        "threshold_at_95_percent_id_recall": result.threshold,
        "ood": {
            row.name: {
                "images": row.images,
                "set": each.of or None,
                "whole_images": len(each.whole),
                "official": row.official,
                "group": row.group,
                **_with_intervals(row),
            }
            for each, row in zip(ood.sets, table.rows, strict=True)
        },
        **({"with_whole_id_test": result.whole_id_metrics} if result.whole_id_metrics else {}),
        **{
            mean.group: {"sets": [row.name for row in mean.rows], "label": mean.label, **_with_intervals(mean)}
            for mean in table.means
        },
    }


def _with_intervals(part: Row | Mean) -> dict[str, Any]:
    if part.samples is None:
        return dict(part.metrics)
    key = f"bootstrap_{100 * LEVEL:.0f}_percent"
    return {**part.metrics, key: {metric: interval(values) for metric, values in part.samples.items()}}


def remove_pictures(folder: Path) -> None:
    """Remove the pictures of an earlier evaluation, which would stand beside other numbers."""
    for name in PICTURES:
        for suffix in ("png", "pdf"):
            (folder / f"{name}.{suffix}").unlink(missing_ok=True)


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
    and a sweep over K.

    Args:
        prototypes: of the head's space, or None.
        projection: of the features: "tsne", "pca" or "none".    seed: of what is drawn by chance.
    """
    first, *_ = evaluation.results
    drawn = [plots.score_histograms(album, first), plots.roc_curves(album, first)]
    for result in evaluation.results:
        if result.name == "discrepancy":
            drawn.append(plots.discrepancy_histograms(album, result, len(class_names)))
    if any(row.group in ("near", "far") for row in table.rows):
        drawn.append(plots.near_and_far(album, table.rows))
    drawn.append(plots.angle_histograms(album, evaluation.angles, evaluation.separability))
    if projection != "none":
        drawn.append(_draw_features(album, evaluation, class_names, projection, seed))
    if prototypes is not None:
        directions = class_directions(prototypes.cpu(), len(class_names)).numpy()
        drawn.append(feature_plots.prototype_angles(album, directions, class_names))
    if evaluation.sweep:
        drawn.append(plots.metrics_over_k(album, evaluation.sweep, evaluation.k))
    return drawn


def _draw_features(
    album: Album, evaluation: Evaluation, class_names: tuple[str, ...], projection: str, seed: int
) -> Path:
    each = MOST_POINTS[projection] // len(evaluation.features)
    chosen = {name: sample_rows(rows, each, seed) for name, rows in evaluation.features.items()}
    sampled = {name: evaluation.features[name][rows].cpu() for name, rows in chosen.items()}
    points, axes = project(sampled, ID_TEST, projection, seed)
    labels = evaluation.test.labels[chosen[ID_TEST]].numpy()
    return feature_plots.feature_projection(
        album, points, labels, name=f"features_{projection}", axis_labels=axes, class_names=class_names
    )
