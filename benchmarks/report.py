"""The figures of all benchmarks as files: one CSV per device, and the tables of README.md made from them."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.rows import FIELDS
from utils.files import atomic_write

HERE = Path(__file__).resolve().parent
RESULTS, README = HERE / "results", HERE / "README.md"
BEGIN, END = "<!-- figures, written by benchmarks/run.py -->\n", "<!-- end of figures -->\n"
CONDITIONS = ("device", "threads", "date", "load_before", "python", "torch", "torchvision", "cuda", "faiss")
COLUMNS = ("benchmark", *FIELDS, *CONDITIONS)


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
    rows = [*(row for row in old if row["benchmark"] not in replaced), *new]
    return sorted((row for row in rows if row["benchmark"] in order), key=lambda row: order.index(row["benchmark"]))


def write(path: Path, rows: Iterable[dict]) -> None:
    """Write a CSV of figures, all of it or nothing."""
    with atomic_write(path, "w") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def update_readme(results: Path = RESULTS, readme: Path = README) -> None:
    """Put the tables of all CSV files between the marks in README.md."""
    text = readme.read_text(encoding="utf-8")
    before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    with atomic_write(readme, "w") as stream:
        stream.write(before + figures(results) + after)


def figures(results: Path) -> str:
    """Markdown tables of all CSV files in a folder."""
    return "\n".join(_section(path.stem, read(path)) for path in sorted(results.glob("*.csv")))


def _section(name: str, rows: Sequence[dict[str, str]]) -> str:
    lines = [
        f"### {name}",
        "",
        "| what | ours, ms | baseline | baseline, ms | result | target | met | |",
        "|---|---:|---|---:|---|---|---|---|",
    ]
    shown = ("what", "ours_ms", "baseline", "baseline_ms", "result", "target", "met", "detail")
    lines += [f"| {' | '.join(row[column] for column in shown)} |" for row in rows]
    conditions: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        names = conditions.setdefault(tuple(row[column] for column in CONDITIONS), [])
        if row["benchmark"] not in names:
            names.append(row["benchmark"])
    lines.append("")
    for values, names in conditions.items():
        said = dict(zip(CONDITIONS, values, strict=True))
        versions = ", ".join(f"{key} {said[key]}" for key in CONDITIONS[4:] if said[key])
        lines.append(
            f"* {', '.join(names)}: {said['device']}, {said['threads']} CPU threads, {said['date']}, "
            f"load {said['load_before']} before, {versions}"
        )
    return "\n".join(lines) + "\n"


def short_table(rows: Sequence[dict]) -> str:
    """Aligned text of a few columns, for the console."""
    cells = [("what", "ours, ms", "result", "target", "met")]
    cells += [(row["what"], row["ours_ms"], row["result"], row["target"], row["met"]) for row in map(as_text, rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(5)]
    return "\n".join(
        f"{what:<{widths[0]}}  {ours:>{widths[1]}}  {result:<{widths[2]}}  {target:<{widths[3]}}  {met}".rstrip()
        for what, ours, result, target, met in cells
    )
