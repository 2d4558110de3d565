"""Rows of the CSV files in results/: typed, read, written, merged; and those of a metrics.json."""

import csv
import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from utils.cli import cider, mcd, vos
from utils.cli.parser import Role
from utils.errors import UserError, one_line
from utils.evaluation.benchmark import BENCHMARKS
from utils.evaluation.names import METRICS
from utils.files import REPOSITORY, atomic_write, file_sha256, one_at_a_time, read_json

MEASURED = REPOSITORY / "results" / "measured.csv"
PAPER = "paper"  # the experiment of full runs with the papers' settings
# What `id_files` says of an ID set that is not the published one, by its checksums; else it is empty.
OTHER_FILES = "other files"


class Record:
    """A row of a file: a dataclass whose fields are the columns. What is merged has `key` and `experiment`."""

    def check(self, where: str) -> None:
        """Raise a UserError, which begins with `where`, for a row that must not stand in the file."""


@dataclass(frozen=True, kw_only=True)
class Row(Record):
    """One run, one OOD set, one score: a row of results/measured.csv.

    Metrics and ID accuracies are percentages, angles (of the L2-normalised penultimate features) degrees, all with the
    digits that the file has. A column with a default may be empty.

    Attributes:
        method, arch, width: as checkpoints name them.    epochs: of all stages.
        id, benchmark, score: as the options name them.    K: neighbour of the KNN score.
        ood: OOD set as shown, which says where it is a part of a set.
        set: the set that it is, or is a part of, by its name in the tables of sets; empty for a folder of one's own.
        id_files: OTHER_FILES or empty.    unlabelled: how MCD saw unlabelled test images; empty for other methods.
        scores_sha256: of scores.npz, which is not in the repository.
        experiment: names by which tables find the row, separated by spaces.
    """

    method: str
    arch: str
    width: int
    id: str
    benchmark: str
    ood: str
    set: str = ""
    score: str
    K: int | None = None
    seed: int | None = None
    epochs: int
    positive: str
    images: int
    fpr95: Decimal
    auroc: Decimal
    aupr_in: Decimal
    aupr_out: Decimal
    id_accuracy_knn: Decimal | None = None
    id_accuracy_probe: Decimal | None = None
    dispersion: Decimal | None = None
    compactness: Decimal | None = None
    separability: Decimal | None = None
    id_images: int
    train_images: int
    id_files: str = ""
    unlabelled: str = ""
    trained_with: str = ""
    checkpoint_sha256: str
    scores_sha256: str = ""
    device: str
    versions: str
    date: str
    experiment: str = ""
    command: str = ""

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes a row another one; a row with the same of these replaces the older one."""
        same = (self.checkpoint_sha256, self.benchmark, self.ood, self.score, self.K, self.positive)
        return *same, self.id_images, self.train_images, self.images

    @property
    def given_k(self) -> int | None:
        """K where it is the same for all runs; None where images that are no test set chose it for each."""
        by_benchmark = BENCHMARKS[self.benchmark].neighbours and "--K " not in self.command
        return None if by_benchmark or "--K auto" in self.command else self.K

    def check(self, where: str) -> None:
        for name in (*METRICS, "id_accuracy_knn", "id_accuracy_probe"):
            if not 0 <= (getattr(self, name) or 0) <= 100:
                raise UserError(f"{where}: {name} is {getattr(self, name)}, not a percentage")
        for name, known in (("benchmark", tuple(BENCHMARKS)), ("positive", ("ID", "OOD"))):
            if getattr(self, name) not in known:
                raise UserError(f"{where}: {name} is {getattr(self, name)}, not {', '.join(known)}")
        count = BENCHMARKS[self.benchmark].count(self.ood, self.id)
        if count not in (None, self.images):
            raise UserError(
                f"{where}: {self.images:,} images under the official name {self.ood}, which has {count:,}\n"
                f"  do         : name it as it is, such as {self.ood} (partial, {self.images:,} of {count:,})"
            )


R = TypeVar("R", bound=Record)
_NUMBERS = {
    int: (re.compile(r"-?\d{1,18}"), "a whole number"),
    Decimal: (re.compile(r"-?\d{1,18}(\.\d{1,18})?"), "a number"),
}


def read(path: Path = MEASURED, kind: type[R] = Row) -> list[R]:
    """All rows of a CSV; none where there is no file.

    Raises:
        UserError: not readable, other columns than the fields of `kind`, a cell that is not of its field's type, or a
            row that `check` refuses.
    """
    if not path.exists():
        return []
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            found, lines = list(reader.fieldnames or ()), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} can not be read: {one_line(error)}") from error
    if odd := {column.name for column in fields(kind)} ^ set(found):
        raise UserError(f"{path} has other columns than expected; unknown or missing: {', '.join(sorted(odd))[:100]}")
    rows = []
    for number, line in enumerate(lines, start=2):
        where = f"{path}, row {number}"
        if None in line or None in line.values():
            raise UserError(f"{where}: another number of cells than the heading has")
        rows.append(typed(kind, line, where))
        rows[-1].check(where)
    return rows


def typed(kind: type[R], cells: Mapping[str, str], where: str) -> R:
    """A row from the text of its fields; what is empty has its default.

    Raises:
        UserError: begins with `where`: an empty cell that has no default, or one that is not a number but should be.
    """
    hints, values = get_type_hints(kind), {}
    for column in fields(kind):
        name, text = column.name, cells.get(column.name)
        if not text:
            if column.default is MISSING:
                raise UserError(f"{where}: {name} is empty")
            continue
        number = next((each for each in (hints[name], *get_args(hints[name])) if each in _NUMBERS), None)
        if number and not _NUMBERS[number][0].fullmatch(text):
            raise UserError(f"{where}: {name} is {text[:100]}, not {_NUMBERS[number][1]}")
        values[name] = number(text) if number else text
    return kind(**values)


def write(rows: Sequence[R], path: Path = MEASURED) -> None:
    """Write a CSV of one kind of rows, all of it or nothing; a UserError where the disk refuses it."""
    try:
        with atomic_write(path, "w") as stream:
            writer = csv.DictWriter(stream, [column.name for column in fields(rows[0])], lineterminator="\n")
            writer.writeheader()
            writer.writerows(map(asdict, rows))
    except OSError as error:
        raise UserError(f"{path} can not be written: {error.strerror or error}") from error


def merge(old: Iterable[R], new: Iterable[R]) -> list[R]:
    """`old` and then `new`, where a new row takes the place of the same one and keeps the experiments it was in."""
    rows = {row.key: row for row in old}
    for row in new:
        tags = [*rows.get(row.key, row).experiment.split(), *row.experiment.split()]
        rows[row.key] = replace(row, experiment=" ".join(dict.fromkeys(tags)))
    return list(rows.values())


def gather(new: Sequence[R], path: Path = MEASURED) -> None:
    """Put rows into a CSV beside those that are there."""
    with one_at_a_time(path.parent):  # what another process gathers meanwhile would be written over
        everything = merge(read(path, type(new[0])), new)
        write(everything, path)
    print(f"{path}: {len(new)} rows gathered, {len(everything)} in all\n")


def from_metrics(path: Path, experiment: str = "") -> list[Row]:
    """Rows of one evaluation.

    Args:
        path: its metrics.json.    experiment: names by which tables find the rows, separated by spaces.
    Raises:
        UserError: not a metrics.json of eval_cider.py, or one whose figures must not stand in the file.
    """
    try:
        found = read_json(path)
        date = datetime.date.fromtimestamp(path.stat().st_mtime).isoformat()
        common = _common(found) | {"date": date, "experiment": experiment}
        cells = [
            {
                **common,
                "score": name,
                "K": _text(score["k"]),
                "ood": shown,
                "set": _text(row["set"]),
                "images": _text(row["images"]),
                **{metric: f"{100 * row[metric]:.2f}" for metric in METRICS},
                "separability": _text(found["separability_degrees"].get(shown), 1),
            }
            for name, score in found["scores"].items()
            for shown, row in score["ood"].items()
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is not a metrics.json of eval_cider.py ({one_line(repr(error))})\n"
            "  do         : evaluate again, where an earlier version wrote it"
        ) from error
    scores = path.with_name("scores.npz")
    sha256 = file_sha256(scores) if scores.is_file() else ""
    rows = [typed(Row, each | {"scores_sha256": sha256}, str(path)) for each in cells]
    for row in rows:
        row.check(str(path))
    return rows


def _common(found: Mapping[str, Any]) -> dict[str, str]:
    """What all rows of an evaluation share."""
    checkpoint, environment, accuracy = found["checkpoint"], found["environment"], found["id_accuracy"]
    trained, geometry, unlabelled = checkpoint["trained_with"], found["geometry_degrees"], found["unlabelled"]
    return {
        "method": checkpoint["method"],
        "arch": checkpoint["model"]["arch"],
        "width": _text(checkpoint["model"]["width"]),
        "id": found["id_set"],
        "benchmark": found["benchmark"],
        "seed": _text(trained.get("seed")),
        "epochs": str(found["epoch"] + (trained.get("pretrain_epochs") or 0)),
        "positive": found["positive"],
        "id_accuracy_knn": f"{100 * accuracy['knn']:.2f}",
        "id_accuracy_probe": f"{100 * accuracy['linear_probe']:.2f}" if "linear_probe" in accuracy else "",
        "dispersion": _text(geometry["dispersion"], 1),
        "compactness": _text(geometry["compactness"], 1),
        "id_images": _text(found["id_images"]),
        "train_images": _text(found["id_train_images"]),
        "id_files": "" if found["id_files_official"] else OTHER_FILES,
        "unlabelled": unlabelled["mode"] if unlabelled else "",
        "trained_with": settings(trained),
        "checkpoint_sha256": checkpoint["sha256"][:16],
        "device": environment["gpu"] or environment["cpu"],
        "versions": f"torch {environment['torch']}, git {environment['git']}",
        "command": " && ".join(filter(None, (found["commands"]["train"], found["commands"]["evaluate"]))),
    }


# Arguments that have a column of their own, follow from one, or are another one with each seed (MCD's weights at the
# start of its fine-tuning, and the run they are from); `input` is what the network expects of an image.
_ELSEWHERE = frozenset(
    "seed trial in_dataset loss epochs limit_train model width train_images class_names input "
    "unlabelled pretrain_name start_weights command".split()
)


@cache
def _free_options() -> set[str]:
    """Options that do not make a training what it is."""
    options = (option for script in (cider, vos, mcd) for option in script.make_parser().options().values())
    return {option.dest for option in options if option.role is not Role.SETTING}


def settings(trained: Mapping[str, Any]) -> str:
    """The other arguments of a training that make it what it is, as NAME=VALUE; switches that are off are left out."""
    shown = {
        name: value
        for name, value in trained.items()
        if name not in _ELSEWHERE | _free_options() and value is not None and value is not False
    }
    return " ".join(f"{name}={_setting(value)}" for name, value in sorted(shown.items()))


def _setting(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_setting, value))
    # Of a path the name alone, which is not that of one machine; of a hash the beginning.
    text = re.sub(r"[^=]*/", "", str(value))
    return re.sub(r"\s+", "-", text[:12] if re.fullmatch("[0-9a-f]{64}", text) else text)


def _text(value: Any, digits: int | None = None) -> str:
    if value is None:
        return ""
    return str(value) if digits is None else f"{value:.{digits}f}"
