"""Rows of results/measured.csv: what they hold, reading, checking, writing, and making them from a metrics.json.

A row is a dict of text, as the file holds it: one run, one OOD set, one score. Metrics are percentages.
"""

import csv
import datetime
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from utils.data.ood_table import find_ood_set
from utils.errors import UserError, one_line
from utils.files import REPOSITORY, atomic_write, read_json
from utils.training.key_arguments import key_arguments

MEASURED = REPOSITORY / "results" / "measured.csv"
METRICS = ("fpr95", "auroc", "aupr_in", "aupr_out")
# ID accuracy in percent; angles of the L2-normalised penultimate features in degrees, separability to this OOD set.
EMBEDDING = ("id_accuracy_knn", "dispersion", "compactness", "separability")
COLUMNS = (
    *(
        "method",
        "architecture",
        "id",
        "ood",
        "score",
        "K",
        "seed",
        "epochs",
        "positive",
        "images",
        *METRICS,
        *EMBEDDING,
    ),
    *("id_images", "train_images", "id_files", "unlabelled", "trained_with", "checkpoint_sha256", "device", "versions"),
    *("date", "experiment", "command"),
)
# What makes a row another one; a row with the same of these replaces the older one.
KEY = ("checkpoint_sha256", "ood", "score", "K", "positive", "id_images", "images")
# What `id_files` says of an ID set that is not the published one, by its checksums; else it is empty.
OTHER_FILES = "other files"
MAY_BE_EMPTY = ("K", "seed", *EMBEDDING, "id_files", "unlabelled", "trained_with", "experiment", "command")

Row = dict[str, str]


def read(path: Path = MEASURED) -> list[Row]:
    """All rows of a CSV; none where there is no file.

    Raises:
        UserError: other columns, or a row that `check` refuses.
    """
    return read_csv(path, COLUMNS, check) if path.exists() else []


def write(rows: Sequence[Row], path: Path = MEASURED) -> None:
    """Write a CSV, all of it or nothing.

    Raises:
        UserError: a row that `check` refuses.
    """
    for row in rows:
        check(row, f"{path.name}, to be written")
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic_write(path, "w") as stream:
        stream.write(text.getvalue())


def read_csv(path: Path, columns: Sequence[str], check_row: Any) -> list[Row]:
    """Rows of a CSV with exactly these columns, each checked by `check_row(row, where)`."""
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} can not be read: {one_line(error)}") from error
    found = reader.fieldnames or []
    if tuple(found) != tuple(columns):
        faults = [f"missing: {name}" for name in columns if name not in found]
        faults += [f"unknown: {name}" for name in found if name not in columns]
        raise UserError(f"{path} has other columns than expected; {', '.join(faults) or 'the order differs'}")
    for number, row in enumerate(rows, start=2):
        where = f"{path}, row {number}"
        if None in row or None in row.values():
            raise UserError(f"{where}: another number of cells than the heading has")
        check_row(row, where)
    return rows


def check(row: Mapping[str, str], where: str) -> None:
    """Raise a UserError, which begins with `where`, for a row that must not stand in the file."""
    for name in COLUMNS:
        if not row.get(name) and name not in MAY_BE_EMPTY:
            raise UserError(f"{where}: {name} is empty")
    for name in METRICS:
        if not 0 <= number(row[name], name, where) <= 100:
            raise UserError(f"{where}: {name} is {row[name]}, not a percentage")
    for name in ("images", "id_images", "train_images", "epochs"):
        number(row[name], name, where)
    if row["positive"] not in ("ID", "OOD"):
        raise UserError(f"{where}: positive is {row['positive']}, not ID or OOD")
    if row["id_files"] not in ("", OTHER_FILES):
        raise UserError(f"{where}: id_files is {row['id_files']}, not {OTHER_FILES} or empty")
    if row["unlabelled"] not in ("", "transductive", "inductive", "unknown"):
        raise UserError(f"{where}: unlabelled is {row['unlabelled']}, not transductive, inductive, unknown or empty")
    check_ood_name(row["ood"], int(row["images"]), where)


def number(text: str, name: str, where: str) -> float:
    """The number that a cell holds; a UserError where it holds none."""
    try:
        return float(text)
    except ValueError:
        raise UserError(f"{where}: {name} is {text or 'empty'}, not a number") from None


def check_ood_name(name: str, images: int, where: str) -> None:
    """Raise a UserError where a part of a set, or a stand-in for it, carries the official set's name."""
    official = find_ood_set(name)
    if official is not None and official.count is not None and images != official.count:
        raise UserError(
            f"{where}: {images:,} images under the official name {name}, which has {official.count:,}\n"
            f"  do         : name it as it is, such as {name} (partial, {images:,} of {official.count:,})"
        )


def honest_name(name: str, images: int) -> str:
    """The name of a set of which only some images were scored says so; an official name stays with the whole set."""
    official = find_ood_set(name)
    if official is None or official.count in (None, images):
        return name
    return f"{name} (scored part, {images:,} of {official.count:,})"


def merge(old: Iterable[Row], new: Iterable[Row]) -> list[Row]:
    """`old` and then `new`, where a new row takes the place of the same one and keeps the experiments it was in."""
    rows = {tuple(row[name] for name in KEY): row for row in old}
    for row in new:
        key = tuple(row[name] for name in KEY)
        tags = [*rows.get(key, row)["experiment"].split(), *row["experiment"].split()]
        rows[key] = row | {"experiment": " ".join(dict.fromkeys(tags))}
    return list(rows.values())


def from_metrics(path: Path, experiment: str = "") -> list[Row]:
    """Rows of one evaluation.

    Args:
        path: its metrics.json.
        experiment: name by which the tables of the README find the rows; several may be separated by spaces.
    Raises:
        UserError: not a metrics.json of eval_cider.py.
    """
    try:
        found = read_json(path)
        common = _common(found) | {
            "date": datetime.date.fromtimestamp(path.stat().st_mtime).isoformat(),
            "experiment": experiment,
        }
        separability = found["separability_degrees"]
        return [
            common
            | split_score(score["score"])
            | {"ood": honest_name(name, row["images"]), "images": str(row["images"])}
            | {metric: f"{100 * row[metric]:.2f}" for metric in METRICS}
            | {"separability": _text(separability.get(name), 1)}
            for score in found["scores"].values()
            for name, row in score["ood"].items()
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a metrics.json of eval_cider.py ({one_line(repr(error))})") from error


def split_score(shown: str) -> dict[str, str]:
    """Score and K of a score as tables show it: KNN (K=100) is KNN with 100."""
    match = re.fullmatch(r"(KNN) \(K=(\d+)\)", shown)
    return {"score": match[1], "K": match[2]} if match else {"score": shown, "K": ""}


def _common(found: Mapping[str, Any]) -> Row:
    """What all rows of an evaluation share."""
    trained, environment = found["checkpoint"]["trained_with"], found["environment"]
    geometry = found["geometry_degrees"]
    commands = found.get("commands") or {}
    return {
        "method": found["method"],
        "architecture": found["arch"],
        "id": found["id_set"],
        "seed": _text(trained.get("seed")),
        "epochs": str(found["epoch"] + (trained.get("pretrain_epochs") or 0)),  # of all stages
        "positive": found["positive"],
        "id_accuracy_knn": f"{100 * found['id_accuracy']['knn']:.2f}",
        "dispersion": _text(geometry.get("dispersion"), 1),
        "compactness": _text(geometry.get("compactness"), 1),
        "id_images": str(found["id_images"]),
        "train_images": str(found["id_train_images"]),
        "id_files": "" if found.get("id_files_official", True) else OTHER_FILES,
        "unlabelled": (found.get("unlabelled") or {}).get("mode", ""),
        "trained_with": settings(trained),
        "checkpoint_sha256": found["checkpoint"]["sha256"][:16],
        "device": environment["gpu"] or environment["cpu"],
        "versions": f"torch {environment['torch']}, git {environment['git']}",
        "command": " && ".join(command for command in (commands.get("train"), commands.get("evaluate")) if command),
    }


# Arguments that have a column of their own, follow from one, or are another one with each seed (MCD's weights at the
# start of its fine-tuning, and the run they are from); `input` is what the network expects of an image.
_ELSEWHERE = frozenset(
    "seed trial in_dataset loss epochs limit_train model width train_images class_names input "
    "unlabelled pretrain_name start_weights".split()
)


def settings(trained: Mapping[str, Any]) -> str:
    """The other arguments of a training that make it what it is, as NAME=VALUE; switches that are off are left out."""
    shown = {
        name: value
        for name, value in key_arguments(trained).items()
        if name not in _ELSEWHERE and value is not None and value is not False
    }
    return " ".join(f"{name}={_setting(value)}" for name, value in sorted(shown.items()))


def _setting(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_setting, value))
    # Of a path the name alone, which is not that of one machine; of a hash the beginning.
    text = re.sub(r"[^=]*/", "", str(value))
    return re.sub(r"\s+", "-", text[:12] if re.fullmatch("[0-9a-f]{64}", text) else text)


def _text(value: Any, digits: int | None = None) -> str:
    return "" if value is None else str(value) if digits is None else f"{value:.{digits}f}"
