"""The figures of all benchmarks as files: one CSV per device, and the tables of README.md made from them."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.rows import FIELDS
from utils.evaluation.grid import Grid
from utils.evaluation.grid import as_text as aligned
from utils.files import atomic_write

HERE = Path(__file__).resolve().parent
RESULTS, README = HERE / "results", HERE / "README.md"
BEGIN, END = "<!-- figures, written by benchmarks/run.py -->\n", "<!-- end of figures -->\n"
CONDITIONS = ("device", "threads", "date", "load_before", "python", "torch", "torchvision", "cuda", "faiss")
COLUMNS = ("benchmark", *FIELDS, *CONDITIONS)
_HEAD = """
| what | ours, ms | baseline | baseline, ms | result | target | met | |
|---|---:|---|---:|---|---|---|---|
"""
_SHOWN = ("what", "ours_ms", "baseline", "baseline_ms", "result", "target", "met", "detail")


def read(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV of figures; none where there is no file."""
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def as_text(row: dict) -> dict[str, str]:
    """A row as it stands in the CSV: four digits are more than such times are good for."""
    return {name: _text(row.get(name)) for name in COLUMNS}


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return "" if value is None else str(value)


def merge(old: Iterable[dict], new: Sequence[dict], order: Sequence[str]) -> list[dict]:
    """`old` rows with those of the benchmarks in `new` replaced, in the `order` of the benchmarks' names."""
    replaced = {row["benchmark"] for row in new}
    rows = [*(row for row in old if row["benchmark"] in {*order} - replaced), *new]
    return sorted(rows, key=lambda row: order.index(row["benchmark"]))


def write(path: Path, rows: Iterable[dict]) -> None:
    """Write a CSV of figures, all of it or nothing."""
    with atomic_write(path, "w") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def update_readme() -> None:
    """Put the tables of all CSV files between the marks in README.md."""
    text = README.read_text(encoding="utf-8")
    with atomic_write(README, "w") as stream:
        stream.write(text[: text.index(BEGIN) + len(BEGIN)] + figures() + text[text.index(END) :])


def figures() -> str:
    """Markdown tables of all CSV files."""
    return "\n".join(_section(path.stem, read(path)) for path in sorted(RESULTS.glob("*.csv")))


def _section(name: str, rows: Sequence[dict[str, str]]) -> str:
    table = "".join(f"| {' | '.join(row[column] for column in _SHOWN)} |\n" for row in rows)
    measured: dict[tuple[str, ...], dict[str, None]] = {}
    for row in rows:
        measured.setdefault(tuple(row[column] for column in CONDITIONS), {})[row["benchmark"]] = None
    below = ""
    for values, names in measured.items():
        device, threads, date, load, *others = values
        versions = ", ".join(f"{what} {value}" for what, value in zip(CONDITIONS[4:], others, strict=True) if value)
        below += f"* {', '.join(names)}: {device}, {threads} CPU threads, {date}, load {load} before, {versions}\n"
    return f"### {name}\n{_HEAD}{table}\n{below}"


def short_table(rows: Sequence[dict]) -> str:
    """Aligned text of a few columns, for the console."""
    shown = ("what", "ours_ms", "result", "target", "met")
    body = [[row[column] for column in shown] for row in map(as_text, rows)]
    return aligned(Grid("", ("what", "ours, ms", "result", "target", "met"), body, ())).strip()
