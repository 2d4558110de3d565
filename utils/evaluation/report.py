"""What an evaluation leaves in its folder: metrics.json, tables, scores.npz and pictures."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from utils.evaluation import plots, tables
from utils.evaluation.evaluation import Evaluation
from utils.evaluation.projection import on_ordinary_sphere, project, sample_rows
from utils.evaluation.tables import Table
from utils.files import atomic_write

# More points than these in one picture would hide each other.
POINTS_PER_SET = 1000
POINTS_ON_SPHERE = 2000


def write_numbers(folder: Path, table: Table, evaluation: Evaluation, about: dict[str, Any]) -> list[Path]:
    """Write metrics.json, the table in four formats, and scores.npz, which holds no pickles; returns their paths.

    Args:
        about: what else metrics.json should state: checkpoint, command, settings, versions.
    """
    paths = [folder / "metrics.json", *(folder / f"table.{suffix}" for suffix in tables.FORMATS), folder / "scores.npz"]
    with atomic_write(paths[0], "w") as stream:
        json.dump(_metrics(table, evaluation) | about, stream, indent=2, ensure_ascii=False)
    for path, form in zip(paths[1:], tables.FORMATS.values(), strict=False):
        with atomic_write(path, "w") as stream:
            stream.write(form(table))
    with atomic_write(paths[-1]) as stream:
        np.savez(
            stream,
            id=evaluation.id_scores,
            id_labels=evaluation.test.labels.numpy(),
            id_knn_classes=evaluation.knn_classes.numpy(),
            **{f"ood/{name}": scores for name, scores in evaluation.ood_scores.items()},
        )
    return paths


def _metrics(table: Table, evaluation: Evaluation) -> dict[str, Any]:
    """Metrics as fractions, and what they mean."""
    return {
        "method": table.method,
        "arch": table.arch,
        "id_set": table.id_set,
        "epoch": table.epoch,
        "score": evaluation.score,
        "orientation": tables.ORIENTATION,
        "positive": "ID",
        "threshold_at_95_percent_id_recall": evaluation.threshold,
        "id_images": len(evaluation.id_scores),
        "ood": {row.name: {"images": row.images, "official": row.official, **row.metrics} for row in table.rows},
        "mean": {"sets": [row.name for row in table.mean_rows], **table.mean},
        "missing": {missing.name: missing.reason for missing in table.missing},
        "id_accuracy": evaluation.id_accuracy,
        "geometry_degrees": evaluation.geometry,
    }


def draw(
    folder: Path,
    evaluation: Evaluation,
    *,
    class_names: tuple[str, ...],
    prototypes: Tensor | None,
    projection: str,
    seed: int,
) -> list[Path]:
    """Draw histograms, ROC curves, the projection ("pca", "tsne", "none") and prototypes; returns the PNGs' paths."""
    metrics = evaluation.ood_metrics
    drawn = [folder / "histograms", folder / "roc"]
    plots.score_histograms(
        drawn[0],
        evaluation.id_scores,
        evaluation.ood_scores,
        evaluation.threshold,
        label=f"{evaluation.score} score, {tables.ORIENTATION}",
        subtitles={
            name: f"FPR95 {100 * found['fpr95']:.1f}  AUROC {100 * found['auroc']:.1f}"
            for name, found in metrics.items()
        },
    )
    aurocs = {name: found["auroc"] for name, found in metrics.items()}
    plots.roc_curves(drawn[1], evaluation.id_scores, evaluation.ood_scores, aurocs)
    if projection != "none":
        drawn.append(folder / f"features_{projection}")
        shown = {name: rows[sample_rows(rows, POINTS_PER_SET, seed)] for name, rows in evaluation.features.items()}
        label = "principal component" if projection == "pca" else "t-SNE"
        plots.feature_projection(drawn[-1], project(shown, "ID test", projection, seed), "ID test", label=label)
    if prototypes is not None:
        drawn.append(folder / "prototypes")
        embedding = evaluation.test.outputs["embedding"]
        some = sample_rows(embedding, POINTS_ON_SPHERE, seed)
        on_sphere = on_ordinary_sphere(prototypes, embedding[some])
        plots.prototypes_on_sphere(drawn[-1], *on_sphere, evaluation.test.labels[some].numpy(), class_names)
    return [path.with_name(f"{path.name}.png") for path in drawn]
