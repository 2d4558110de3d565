"""What the card of a tracked model says of its files, training, images and results: made from the files beside it."""

from collections.abc import Sequence
from typing import Any

from utils.evaluation.benchmark import BENCHMARKS
from utils.evaluation.grid import Grid, as_markdown
from utils.evaluation.names import POSITIVE
from utils.files import REPOSITORY, read_json
from utils.results.rows import Row
from utils.zoo import MODELS

INTERVALS = "bootstrap_95_percent"


def card(name: str, rows: Sequence[Row]) -> str:
    """Markdown of the model of that name in utils.zoo.

    Numbers are those of `rows`, results/measured.csv; intervals and hashes of images are those of the evaluations that
    lie beside the checkpoint as metrics_BENCHMARK.json.
    """
    model = MODELS[name]
    folder = REPOSITORY / model.place
    sha256 = next(iter(model.files.values()))
    own = [row for row in rows if row.checkpoint_sha256 and sha256.startswith(row.checkpoint_sha256)]
    evaluations = [read_json(path) for path in sorted(folder.glob("metrics_*.json"))]
    files = [[file, f"{(folder / file).stat().st_size:,}", f"`{known}`"] for file, known in model.files.items()]
    grids = [
        Grid("## Files", ("file", "bytes", "SHA-256"), files, ()),
        Grid("## Images", ("images", "SHA-256 of the pixels as they were read"), _images(evaluations), ()),
        *(_results(found, own) for found in evaluations),
    ]
    training = _training(own[0], read_json(folder / "env.json"), evaluations[0])
    return "\n".join(["## Training\n", *(f"* {line}" for line in training), "", *map(as_markdown, grids)])


def _training(row: Row, environment: dict[str, Any], found: dict[str, Any]) -> list[str]:
    size, mean, std = (found["normalisation"][name] for name in ("size", "mean", "std"))
    return [
        f"command: `{found['commands']['train']}`",
        f"settings: {row.trained_with}",
        f"images: {row.train_images:,} of {row.id}{', files other than the published ones' * bool(row.id_files)}",
        f"classes: {', '.join(found['class_names'])}",
        f"input: {size} x {size} RGB on 0 to 1, minus {mean}, divided by {std}",
        f"on: {environment['gpu'] or environment['cpu']}, torch {environment['torch']}",
    ]


def _images(evaluations: Sequence[dict[str, Any]]) -> list[list[str]]:
    hashes = {}
    for found in evaluations:
        label = BENCHMARKS[found["benchmark"]].label
        for name, sha256 in found["images_sha256"].items():
            hashes.setdefault(sha256, name if name not in hashes.values() else f"{name} ({label})")
    return [[name, f"`{sha256}`"] for sha256, name in hashes.items()]


def _results(found: dict[str, Any], rows: Sequence[Row]) -> Grid:
    """Metrics of the first score of an evaluation, and beside them its AUROC with the small reference."""
    score = next(iter(found["scores"]))
    same = [row for row in rows if (row.benchmark, row.score) == (found["benchmark"], score)]
    whole = [row for row in same if row.train_images == found["id_train_images"]]
    small = {row.ood: row for row in same if row.train_images != found["id_train_images"]}
    body = []
    for row in whole:
        ends = found["ood"][row.ood][INTERVALS]
        cells = [
            f"{getattr(row, metric)} ({100 * ends[metric][0]:.2f} to {100 * ends[metric][1]:.2f})"
            for metric in ("fpr95", "auroc")
        ]
        reduced = small[row.ood].auroc
        body.append([row.ood, f"{row.images:,}", *cells, f"{reduced} ({reduced - row.auroc:+.2f})"])
    head = ["OOD set", "images", "FPR95 ↓", "AUROC ↑", f"AUROC ↑, {next(iter(small.values())).train_images:,} images"]
    footer = [
        f"{found['score']} score against {found['id_train_images']:,} training images; last column: "
        f"K={next(iter(small.values())).K} against the small reference of detect.py --model, and the difference",
        f"{found['id_images']:,} ID test images, of which {whole[0].id_accuracy_knn} % get their class by KNN",
        "in brackets: 95 % intervals by resampled test images, which say nothing of another seed",
        POSITIVE[found["positive"]],
    ]
    return Grid(f"## Results: {BENCHMARKS[found['benchmark']].label}", head, body, footer)
