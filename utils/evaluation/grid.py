"""A table of strings with a heading and a footer, as aligned text, Markdown and LaTeX."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Missing:
    """Something that could not be evaluated; `reason` names it, what was looked for, and how to get it."""

    name: str
    reason: str


@dataclass(frozen=True)
class Grid:
    """heading above, head and body cells (the first column is text, the others numbers), footer lines below.

    ruled: rows at the end of the body that LaTeX sets off by a rule.
    label: what LaTeX refers to it by, in words; the heading where there is none.
    bold: (row, column) of cells that LaTeX prints bold, or (row, column, n) for the n-th of figures between slashes.
    """

    heading: str
    head: Sequence[str]
    body: Sequence[Sequence[str]]
    footer: Sequence[str]
    missing: Sequence[Missing] = ()
    ruled: int = 0
    label: str = ""
    bold: Collection[tuple[int, ...]] = ()


def as_text(grid: Grid) -> str:
    """Aligned text, as printed on the console."""
    widths = [max(map(len, column)) for column in zip(grid.head, *grid.body, strict=True)]
    lines = [grid.heading]
    for cells in (grid.head, *grid.body):
        numbers = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
        lines.append("   ".join((cells[0].ljust(widths[0]), *numbers)).rstrip())
    lines += [*grid.footer, *(f"not evaluated: {one_line(missing.reason)}" for missing in grid.missing)]
    return "\n".join(lines) + "\n"


def as_markdown(grid: Grid) -> str:
    """Markdown table, with the heading above and the footer below."""
    head, *body = [[cell.replace("|", "\\|") for cell in cells] for cells in (grid.head, *grid.body)]
    lines = [grid.heading, "", f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    lines += [f"| {' | '.join(cells)} |" for cells in body]
    lines += ["", *(f"* {line}" for line in grid.footer)]
    lines += [f"* not evaluated: {one_line(missing.reason)}" for missing in grid.missing]
    return "\n".join(lines) + "\n"


def as_latex(grid: Grid) -> str:
    """LaTeX table environment; it needs the package booktabs. The heading is the caption, the footer stands below."""
    head = " & ".join(map(_latex, grid.head)) + r" \\"
    rows = [
        " & ".join(_latex_cell(cell, row, column, grid.bold) for column, cell in enumerate(cells)) + r" \\"
        for row, cells in enumerate(grid.body)
    ]
    if grid.ruled:
        rows.insert(len(rows) - grid.ruled, r"\midrule")
    below = list(grid.footer)
    if grid.missing:
        below.append(f"not evaluated: {', '.join(missing.name for missing in grid.missing)}")
    label = re.sub(r"[^a-z0-9]+", "-", (grid.label or grid.heading).lower()).strip("-")
    lines = [
        "% needs \\usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{', '.join(map(_latex, re.split(' {2,}', grid.heading)))}.}}",
        rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(grid.head) - 1)}}}",
        r"\toprule",
        head,
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        *([r"\par\smallskip", r"\begin{minipage}{\linewidth}\footnotesize"] if below else []),
        *(rf"{_latex(' '.join(line.split()))}.\par" for line in below),
        *([r"\end{minipage}"] if below else []),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_cell(cell: str, row: int, column: int, bold: Collection[tuple[int, ...]]) -> str:
    if (row, column) in bold and cell:
        return rf"\textbf{{{_latex(cell)}}}"
    parts = [_latex(part) for part in cell.split(" / ")]
    return " / ".join(
        rf"\textbf{{{part}}}" if (row, column, place) in bold else part for place, part in enumerate(parts)
    )


def one_line(text: str) -> str:
    """The lines of a message as one, without its indentation."""
    return "; ".join(" ".join(line.split()).rstrip(".") for line in text.splitlines() if line.strip())


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
