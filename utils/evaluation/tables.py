"""Results per OOD set as a table: aligned text, Markdown, LaTeX, CSV."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

METRICS = ("fpr95", "auroc", "aupr_in", "aupr_out")
HEADINGS = {"fpr95": "FPR95 ↓", "auroc": "AUROC ↑", "aupr_in": "AUPR-In ↑", "aupr_out": "AUPR-Out ↑"}
ORIENTATION = "larger = more ID"
POSITIVE = "ID is the positive class"


@dataclass(frozen=True)
class Row:
    """One OOD set: its name as shown, its images, the metrics as fractions, and whether it is a whole official set."""

    name: str
    images: int
    metrics: dict[str, float]
    official: bool


@dataclass(frozen=True)
class Missing:
    """An OOD set that could not be evaluated; `reason` names it, what was looked for, and how to get it."""

    name: str
    reason: str


@dataclass(frozen=True)
class Table:
    """What one score of one checkpoint gives on several OOD sets.

    method, arch, id_set, score, epoch: what the heading states, as shown; score includes K, as in "KNN (K=100)".
    """

    method: str
    arch: str
    id_set: str
    score: str
    epoch: int
    rows: Sequence[Row]
    missing: Sequence[Missing] = ()
    notes: Sequence[str] = ()

    @property
    def heading(self) -> str:
        return (f"{self.method}  {self.arch}  {self.id_set}   score: {self.score}, {ORIENTATION}   "
                f"epoch {self.epoch}   {POSITIVE}")

    @property
    def mean_rows(self) -> list[Row]:
        """The rows that the mean is over: the official sets, or all where there is no official one."""
        return [row for row in self.rows if row.official] or list(self.rows)

    @property
    def mean(self) -> dict[str, float]:
        """Plain mean over `mean_rows`, as fractions."""
        rows = self.mean_rows
        return {metric: sum(row.metrics[metric] for row in rows) / len(rows) for metric in METRICS}

    @property
    def footer(self) -> list[str]:
        """Lines that name the sets of the mean, those left out of it, and the notes."""
        names = [row.name for row in self.mean_rows]
        left_out = [row.name for row in self.rows if row.name not in names]
        lines = [f"mean over: {', '.join(names)}"]
        if not any(row.official for row in self.rows):
            lines[0] += " (no complete official set)"
        if left_out:
            lines.append(f"not in the mean: {', '.join(left_out)}")
        return lines + list(self.notes)


def to_text(table: Table) -> str:
    """Aligned text in percent, as printed on the console."""
    head, *body = _cells(table)
    widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
    lines = [table.heading]
    for cells in (head, *body):
        numbers = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
        lines.append("   ".join((cells[0].ljust(widths[0]), *numbers)).rstrip())
    lines += table.footer
    for missing in table.missing:
        lines.append(f"not evaluated: {missing.reason}")
    return "\n".join(lines) + "\n"


def to_markdown(table: Table) -> str:
    """Markdown table in percent, with the heading above and the sets of the mean below."""
    head, *body = [[cell.replace("|", "\\|") for cell in cells] for cells in _cells(table)]
    lines = [table.heading, "", f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    lines += [f"| {' | '.join(cells)} |" for cells in body]
    lines += ["", *(f"* {line}" for line in table.footer)]
    lines += [f"* not evaluated: {_one_line(missing.reason)}" for missing in table.missing]
    return "\n".join(lines) + "\n"


def to_latex(table: Table) -> str:
    """LaTeX table environment in percent; it needs the package booktabs. Heading and footer are the caption."""
    head, *body = [[_latex(cell) for cell in cells] for cells in _cells(table)]
    caption = [table.heading, *table.footer]
    if table.missing:
        caption.append(f"not evaluated: {', '.join(missing.name for missing in table.missing)}")
    *sets, mean = [" & ".join(cells) + r" \\" for cells in body]
    lines = [
        "% needs \\usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{'. '.join(_latex(' '.join(line.split())) for line in caption)}.}}",
        rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
        r"\toprule",
        " & ".join(head) + r" \\",
        r"\midrule",
        *sets,
        r"\midrule",
        mean,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def to_csv(table: Table) -> str:
    """CSV with one row per OOD set and one for the mean; every row says what it is of, so that files can be joined."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["method", "arch", "id_set", "score", "orientation", "epoch", "positive", "ood_set", "images",
                     "in_mean", *(f"{metric}_percent" for metric in METRICS), "note"])
    same = [table.method, table.arch, table.id_set, table.score, ORIENTATION, table.epoch, "ID"]
    in_mean = table.mean_rows
    for row in table.rows:
        counted = "yes" if row in in_mean else "no"
        writer.writerow([*same, row.name, row.images, counted, *_percents(row.metrics, 4), ""])
    writer.writerow([*same, f"mean ({len(in_mean)})", "", "", *_percents(table.mean, 4), table.footer[0]])
    for missing in table.missing:
        writer.writerow([*same, missing.name, "", "no", *[""] * len(METRICS), f"missing: {_one_line(missing.reason)}"])
    return stream.getvalue()


FORMATS = {"txt": to_text, "md": to_markdown, "tex": to_latex, "csv": to_csv}


def _cells(table: Table) -> list[list[str]]:
    """Head, one line per set, and the mean, as strings."""
    lines = [["OOD set", "images", *(HEADINGS[metric] for metric in METRICS)]]
    lines += [[row.name, str(row.images), *_percents(row.metrics, 2)] for row in table.rows]
    lines.append([f"mean ({len(table.mean_rows)})", "", *_percents(table.mean, 2)])
    return lines


def _percents(metrics: dict[str, float], digits: int) -> list[str]:
    return [f"{100 * metrics[metric]:.{digits}f}" for metric in METRICS]


def _one_line(text: str) -> str:
    return "; ".join(" ".join(line.split()) for line in text.splitlines() if line.strip())


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "↑": r"$\uparrow$", "↓": r"$\downarrow$",
}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
