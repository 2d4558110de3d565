"""Results per OOD set as tables: one score with all its metrics, or several scores side by side."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from utils.evaluation.bootstrap import interval
from utils.evaluation.grid import Grid, as_latex, as_markdown, as_text
from utils.evaluation.names import HEADINGS, METRICS, ORIENTATION, POSITIVE


@dataclass(frozen=True)
class Row:
    """One OOD set.

    Attributes:
        name: as shown.    images: their number.    metrics: fractions.    mark: of a footnote of the table, or "".
        official: whether it is a whole set of the benchmark.    group: of the benchmark, as "near"; "" for none.
        samples: metric -> (R,) values of bootstrap resamples, or None.
    """

    name: str
    images: int
    metrics: dict[str, float]
    official: bool
    group: str = ""
    samples: dict[str, np.ndarray] | None = None
    mark: str = ""


@dataclass(frozen=True)
class Mean:
    """Plain mean of the metrics over the rows of a group; `label` says of how many: "mean (5)"."""

    group: str
    label: str
    rows: Sequence[Row]

    @property
    def metrics(self) -> dict[str, float]:
        """As fractions."""
        return {metric: sum(row.metrics[metric] for row in self.rows) / len(self.rows) for metric in METRICS}

    @property
    def samples(self) -> dict[str, np.ndarray] | None:
        """Means of the resamples; those of all rows share their ID images."""
        if any(row.samples is None for row in self.rows):
            return None
        return {metric: np.mean([row.samples[metric] for row in self.rows], axis=0) for metric in METRICS}


@dataclass(frozen=True)
class Table:
    """What one score of one checkpoint gives on several OOD sets.

    method, arch, id_set, score, epoch: what the heading states, as shown; score includes K, as in "KNN (K=100)".
    missing: OOD set -> why it is not there, on one line.    epoch_note: behind the epoch, as "weights of epoch 6".
    notes: on the checkpoint.    score_notes: on this score.    positive: "ID" or "OOD".
    groups: of the benchmark, with the number of their sets; where there are several, each has a mean, and else all do.
    footnote: begins with a mark, as "†", that stands behind the method; "" for none.
    """

    method: str
    arch: str
    id_set: str
    score: str
    epoch: int
    rows: Sequence[Row]
    missing: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    score_notes: Sequence[str] = ()
    positive: str = "ID"
    footnote: str = ""
    groups: Mapping[str, int] = field(default_factory=dict)
    epoch_note: str = ""

    @property
    def marked_method(self) -> str:
        """The method with the mark of its footnote."""
        return marked(self.method, self.footnote[:1])

    def heading(self, shown: str) -> str:
        """What was trained on what, what is `shown` of it, and what counts as positive."""
        epoch = f"epoch {self.epoch}{f' ({self.epoch_note})' if self.epoch_note else ''}"
        of = f"{self.marked_method}  {self.arch}  {self.id_set}"
        return f"{of}   {shown}, {ORIENTATION}   {epoch}   {POSITIVE[self.positive]}"

    @property
    def means(self) -> list[Mean]:
        """One over the benchmark's whole sets, or one a group; over all sets where no set is a whole one of it."""
        official = [row for row in self.rows if row.official]
        if len(self.groups) < 2 or not official:
            rows = official or list(self.rows)
            return [Mean("mean", f"mean ({len(rows)})", rows)]
        found = []
        for group, wanted in self.groups.items():
            rows = [row for row in official if row.group == group]
            which = f" of {wanted}: {', '.join(row.name for row in rows)}" if len(rows) < wanted else ""
            found += [Mean(group, f"{group} ({len(rows)}{which})", rows)] if rows else []
        return found

    @property
    def footer(self) -> list[str]:
        """Lines that name the sets of each mean, those that are in none, and the notes."""
        counted = [row.name for mean in self.means for row in mean.rows]
        lines = [f"{mean.group} over: {', '.join(row.name for row in mean.rows)}" for mean in self.means]
        if not any(row.official for row in self.rows):
            lines[0] += " (no complete official set)"
        elif len(self.groups) > 1:
            there = [mean.group for mean in self.means]
            empty = {group: count for group, count in self.groups.items() if group not in there}
            lines += [f"{group} (0 of {count}): no set of it is there whole" for group, count in empty.items()]
        if left_out := [row.name for row in self.rows if row.name not in counted]:
            no_mean = "in no mean" if len(self.groups) > 1 else "not in the mean"
            lines.append(f"{no_mean}: {', '.join(left_out)}")
        return [*lines, *filter(None, [self.footnote]), *self.notes]


def to_text(*tables: Table) -> str:
    """Aligned text in percent; several tables of one checkpoint stand side by side."""
    return as_text(_grid(tables))


def to_markdown(*tables: Table) -> str:
    """The same as a Markdown table."""
    return as_markdown(_grid(tables))


def to_latex(*tables: Table) -> str:
    """The same as a LaTeX table environment."""
    return as_latex(_grid(tables))


def to_csv(*tables: Table) -> str:
    """CSV with a row per score and OOD set and one per mean; every row says what it is of, so that files can be joined.

    Where there are bootstrap resamples, columns ..._low_percent and ..._high_percent hold the 95 % intervals.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    with_intervals = any(row.samples is not None for table in tables for row in table.rows)
    ends = [f"{metric}_{end}_percent" for metric in METRICS for end in ("low", "high")] if with_intervals else []
    head = "method arch id_set score orientation epoch positive ood_set images in_mean".split()
    writer.writerow([*head, *(f"{metric}_percent" for metric in METRICS), *ends, "note"])
    for table in tables:
        what = [table.marked_method, table.arch, table.id_set, table.score]
        same = [*what, ORIENTATION, table.epoch, table.positive]
        for row in table.rows:
            counted = "yes" if any(row in mean.rows for mean in table.means) else "no"
            name = marked(row.name, row.mark)
            writer.writerow([*same, name, row.images, counted, *_numbers(row), table.footnote])
        for mean in table.means:
            over = "; ".join(filter(None, (f"mean over: {', '.join(row.name for row in mean.rows)}", table.footnote)))
            writer.writerow([*same, mean.label, "", "", *_numbers(mean), over])
        for name, reason in table.missing.items():
            writer.writerow([*same, name, "", "no", *[""] * (len(METRICS) + len(ends)), f"missing: {reason}"])
    return stream.getvalue()


def marked(name: str, mark: str) -> str:
    """A name with the mark of its footnote, if it has one."""
    return f"{name} {mark}" if mark else name


FORMATS = {"txt": to_text, "md": to_markdown, "tex": to_latex, "csv": to_csv}


def _grid(tables: Sequence[Table]) -> Grid:
    return _one_score(tables[0]) if len(tables) == 1 else _side_by_side(tables)


def _one_score(table: Table) -> Grid:
    """A line per OOD set, a column per metric, with intervals where there are some."""
    body = [[marked(row.name, row.mark), str(row.images), *_cells(row)] for row in table.rows]
    body += [[mean.label, "", *_cells(mean)] for mean in table.means]
    footer = [*table.footer, *table.score_notes]
    if table.rows[0].samples is not None:
        footer.append(
            f"in brackets: 95 % intervals from {len(table.rows[0].samples[METRICS[0]]):,} bootstrap resamples of the "
            "test images; training runs vary as well"
        )
    return Grid(
        table.heading(f"score: {table.score}"),
        ["OOD set", "images", *(HEADINGS[metric] for metric in METRICS)],
        body,
        footer,
        table.missing,
        ruled=len(table.means),
        label=f"{table.method} {table.id_set} {table.score}",
        bold=[(row, column) for row in range(len(table.rows), len(body)) for column in range(2, 2 + len(METRICS))],
    )


def _side_by_side(tables: Sequence[Table]) -> Grid:
    """A line per score, a column per OOD set and mean with FPR95 / AUROC, as the papers have it."""
    first = tables[0]
    body = [
        [table.score, *(" / ".join(_percents(part.metrics, 2)[:2]) for part in (*table.rows, *table.means))]
        for table in tables
    ]
    files = "AUPR-In, AUPR-Out" + (" and 95 % bootstrap intervals" if first.rows[0].samples is not None else "")
    footer = [*first.footer, *(f"{table.score}: {note}" for table in tables for note in table.score_notes)]
    return Grid(
        first.heading("FPR95 ↓ / AUROC ↑ of scores"),
        ["score", *(marked(row.name, row.mark) for row in first.rows), *(mean.label for mean in first.means)],
        body,
        [*footer, f"{files} of each score: in the .csv file"],
        first.missing,
        label=f"{first.method} {first.id_set} scores",
        bold=_best(tables),
    )


def _best(tables: Sequence[Table]) -> list[tuple[int, int, int]]:
    """Row, column and place in the cell of the lowest FPR95 and the highest AUROC of each set and mean."""
    found = []
    for column, parts in enumerate(zip(*((*table.rows, *table.means) for table in tables), strict=True), 1):
        for place, (metric, best) in enumerate((("fpr95", min), ("auroc", max))):
            values = [round(part.metrics[metric], 4) for part in parts]  # as they are shown
            found += [(row, column, place) for row, value in enumerate(values) if value == best(values)]
    return found


def _cells(part: Row | Mean) -> list[str]:
    """Metrics in percent, each with its interval where there is one."""
    cells = _percents(part.metrics, 2)
    if part.samples is None:
        return cells
    ends = (interval(part.samples[metric]) for metric in METRICS)
    return [f"{cell} [{100 * low:.2f}, {100 * high:.2f}]" for cell, (low, high) in zip(cells, ends, strict=True)]


def _numbers(part: Row | Mean) -> list[str]:
    """Metrics for CSV, and behind them low and high ends of all intervals where there are some."""
    ends = [] if part.samples is None else [end for metric in METRICS for end in interval(part.samples[metric])]
    return [*_percents(part.metrics, 4), *(f"{100 * end:.4f}" for end in ends)]


def _percents(metrics: dict[str, float], digits: int) -> list[str]:
    return [f"{100 * metrics[metric]:.{digits}f}" for metric in METRICS]
