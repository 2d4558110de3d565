"""A table of strings with a heading and a footer, as aligned text, Markdown and LaTeX."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Grid:
    """heading above, head and body cells (the first column is text, the others numbers), footer lines below.

    missing: what could not be evaluated -> why, on one line.
    ruled: rows at the end of the body that LaTeX sets off by a rule.
    label: what LaTeX refers to it by, in words; the heading where there is none.
    bold: (row, column) of cells that LaTeX prints bold, or (row, column, n) for the n-th of figures between slashes.
    """

    heading: str
    head: Sequence[str]
    body: Sequence[Sequence[str]]
    footer: Sequence[str]
    missing: Mapping[str, str] = field(default_factory=dict)
    ruled: int = 0
    label: str = ""
    bold: Collection[tuple[int, ...]] = ()

    @property
    def below(self) -> list[str]:
        """Lines below, with what is missing."""
        return [*self.footer, *(f"not evaluated: {reason}" for reason in self.missing.values())]


def as_text(grid: Grid) -> str:
    """Aligned text, as printed on the console."""
    widths = [max(map(len, column)) for column in zip(grid.head, *grid.body, strict=True)]
    lines = [grid.heading]
    for cells in (grid.head, *grid.body):
        numbers = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
        lines.append("   ".join((cells[0].ljust(widths[0]), *numbers)).rstrip())
    return "\n".join([*lines, *grid.below]) + "\n"


def as_markdown(grid: Grid) -> str:
    """Markdown table, with the heading above and the footer below."""
    head, *body = [[cell.replace("|", "\\|") for cell in cells] for cells in (grid.head, *grid.body)]
    lines = [grid.heading, "", f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    lines += [f"| {' | '.join(cells)} |" for cells in body]
    return "\n".join([*lines, "", *(f"* {line}" for line in grid.below)]) + "\n"


def as_latex(grid: Grid) -> str:
    """LaTeX table environment; it needs the package booktabs. The heading is the caption, the footer stands below."""
    rows = [
        " & ".join(_latex_cell(cell, row, column, grid.bold) for column, cell in enumerate(cells)) + r" \\"
        for row, cells in enumerate(grid.body)
    ]
    if grid.ruled:
        rows.insert(len(rows) - grid.ruled, r"\midrule")
    # Why something is missing names folders of this machine.
    below = [*grid.footer, *([f"not evaluated: {', '.join(grid.missing)}"] if grid.missing else [])]
    label = re.sub(r"[^a-z0-9]+", "-", (grid.label or grid.heading).lower()).strip("-")
    lines = [
        "% needs \\usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{', '.join(map(_latex, re.split(' {2,}', grid.heading)))}.}}",
        rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(grid.head) - 1)}}}",
        r"\toprule",
        " & ".join(map(_latex, grid.head)) + r" \\",
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    if below:
        notes = (rf"{_latex(' '.join(line.split()))}.\par" for line in below)
        lines += [r"\par\smallskip", r"\begin{minipage}{\linewidth}\footnotesize", *notes, r"\end{minipage}"]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _latex_cell(cell: str, row: int, column: int, bold: Collection[tuple[int, ...]]) -> str:
    if (row, column) in bold and cell:
        return rf"\textbf{{{_latex(cell)}}}"
    parts = map(_latex, cell.split(" / "))
    return " / ".join(
        rf"\textbf{{{part}}}" if (row, column, place) in bold else part for place, part in enumerate(parts)
    )


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
