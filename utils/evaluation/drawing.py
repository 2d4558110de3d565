"""What the figures of an evaluation share: colours, style, panels, legend, and saving as PNG and PDF."""

import textwrap
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from utils.files import atomic_write

# Colours that people with colour-blindness can tell apart: Okabe and Ito's.
BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"
ID_COLOR, OOD_COLOR = BLUE, ORANGE
STYLE = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "pdf.fonttype": 42,
}
PANEL_INCHES = 2.3
MAX_COLUMNS = 4
TITLE_CHARACTERS = 26  # that fit above a panel


def line_color(index: int) -> str:
    """Colour of the index-th curve."""
    return (BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER, "black")[index % 7]


def line_style(index: int) -> str:
    """Dashes of the index-th curve, which change when the colours have been used up."""
    return ("-", "--", "-.", ":")[index // 7 % 4]


def panel_grid(count: int, *, share: bool) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels in rows as even as can be; unused places stay empty."""
    rows = -(-count // MAX_COLUMNS)
    columns = -(-count // rows)
    figure = Figure(figsize=(max(4.8, columns * PANEL_INCHES), rows * 2.05 + 0.7))
    grid = figure.subplots(rows, columns, squeeze=False, sharex=share, sharey=share).ravel()
    for axes in grid[count:]:
        axes.set_visible(False)
    return figure, list(grid[:count])


def panel_title(name: str) -> str:
    """A set's name, in several lines where one would reach into the title of the next panel."""
    return textwrap.fill(name, TITLE_CHARACTERS, break_on_hyphens=False)


def legend_above(figure: Figure, handles: list[Line2D]) -> None:
    """One legend for all panels, in one line above them."""
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))


def save_figure(figure: Figure, path: Path) -> None:
    """Write the figure to `path` with .png and .pdf; without dates, so that equal figures are equal files."""
    FigureCanvasAgg(figure)
    for suffix, metadata in (("png", {"Software": None}), ("pdf", {"CreationDate": None})):
        with atomic_write(path.with_name(f"{path.name}.{suffix}")) as stream:
            figure.savefig(stream, format=suffix, dpi=200, metadata=metadata, bbox_inches="tight")
    figure.clear()
