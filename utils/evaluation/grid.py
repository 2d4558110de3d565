"""A table of strings with a heading and a footer, as aligned text, Markdown and LaTeX."""

from collections.abc import Sequence
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
    """

    heading: str
    head: Sequence[str]
    body: Sequence[Sequence[str]]
    footer: Sequence[str]
    missing: Sequence[Missing] = ()
    ruled: int = 0


def as_text(grid: Grid) -> str:
    """Aligned text, as printed on the console."""
    widths = [max(map(len, column)) for column in zip(grid.head, *grid.body, strict=True)]
    lines = [grid.heading]
    for cells in (grid.head, *grid.body):
        numbers = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
        lines.append("   ".join((cells[0].ljust(widths[0]), *numbers)).rstrip())
    lines += [*grid.footer, *(f"not evaluated: {missing.reason}" for missing in grid.missing)]
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
    """LaTeX table environment; it needs the package booktabs. Heading and footer are the caption."""
    head, *rows = [" & ".join(map(_latex, cells)) + r" \\" for cells in (grid.head, *grid.body)]
    if grid.ruled:
        rows.insert(len(rows) - grid.ruled, r"\midrule")
    caption = [grid.heading, *grid.footer]
    if grid.missing:
        caption.append(f"not evaluated: {', '.join(missing.name for missing in grid.missing)}")
    lines = [
        "% needs \\usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{'. '.join(_latex(' '.join(line.split())) for line in caption)}.}}",
        rf"\begin{{tabular}}{{l{'r' * (len(grid.head) - 1)}}}",
        r"\toprule",
        head,
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def one_line(text: str) -> str:
    """The lines of a message as one, without its indentation."""
    return "; ".join(" ".join(line.split()) for line in text.splitlines() if line.strip())


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
