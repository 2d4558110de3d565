"""What the figures of an evaluation share: colours, style, panels, and an album to save them in."""

import textwrap
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from anyascii import anyascii
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from utils.files import atomic_write

# Colours that people with colour-blindness can tell apart: Okabe and Ito's.
BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"
ID_COLOR, OOD_COLOR, OOD_GREY = BLUE, ORANGE, "0.62"
CURVE_COLORS = (BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER, "black")
FONT_SIZE = {"screen": 9, "paper": 7}
PAPER_COLUMN = 3.3  # inches
MAX_COLUMNS = {"screen": 4, "paper": 2}
TITLE_CHARACTERS = {"screen": 26, "paper": 20}  # that fit above a panel
TITLE_LINES = 2


@dataclass(frozen=True)
class Album:
    """A folder for the figures of one evaluation.

    Attributes:
        about: method, ID set and checkpoint in words; it stands below each figure and in its metadata.
        style: "screen": PNG and PDF, with numbers in the titles. "paper": PDF alone, 3.3 inches wide, no such titles
            and nothing below, since a paper has captions for both.
    """

    folder: Path
    about: str
    style: str = "screen"

    @property
    def rc(self) -> dict[str, Any]:
        """Settings of matplotlib to draw under."""
        return {
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
            "figure.constrained_layout.use": True,
            "pdf.fonttype": 42,
            **dict.fromkeys(("font.size", "axes.titlesize", "legend.fontsize"), FONT_SIZE[self.style]),
        }

    def figure(self, width: float, height: float) -> Figure:
        """An empty figure of a size in inches; on paper it is made as wide as a column."""
        if self.style == "paper":
            width, height = PAPER_COLUMN, height * PAPER_COLUMN / width
        return Figure(figsize=(width, height))

    def panels(self, count: int, x_label: str, y_label: str) -> tuple[Figure, list[Axes]]:
        """A figure with `count` panels of the same axes in rows as even as can be; unused places stay empty."""
        rows = -(-count // MAX_COLUMNS[self.style])
        columns = -(-count // rows)
        screen_size = max(4.8, columns * 2.3), rows * 2.05 + 0.7
        figure = Figure(figsize=(PAPER_COLUMN, rows * 1.45 + 0.5) if self.style == "paper" else screen_size)
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
        for axes in grid[count:]:
            axes.set_visible(False)
        figure.supxlabel(x_label, fontsize=FONT_SIZE[self.style])
        figure.supylabel(y_label, fontsize=FONT_SIZE[self.style])
        return figure, list(grid[:count])

    def title(self, name: str, numbers: str = "") -> str:
        """A panel's title: a set's name, shortened to two lines, and below it numbers unless on paper."""
        most = TITLE_CHARACTERS[self.style]
        lines = textwrap.wrap(drawable(name), most, break_on_hyphens=False)
        if len(lines) > TITLE_LINES:
            lines[TITLE_LINES - 1 :] = [f"{lines[TITLE_LINES - 1][: most - 1]}…"]
        return "\n".join(lines + [numbers] * (bool(numbers) and self.style != "paper"))

    def save(self, figure: Figure, name: str) -> Path:
        """Write the figure as NAME.png and NAME.pdf, or the latter alone; without dates, so equal figures are equal.

        Returns:
            the path of the first of them.
        """
        FigureCanvasAgg(figure)
        about = drawable(self.about)
        metadata = {"png": {"Software": None, "Title": about}, "pdf": {"CreationDate": None, "Title": about}}
        if self.style == "paper":
            del metadata["png"]
        else:
            figure.text(1, -0.03, about, ha="right", va="top", fontsize=6, color="0.5")
        for suffix, said in metadata.items():
            with atomic_write(self.folder / f"{name}.{suffix}") as stream:
                figure.savefig(stream, format=suffix, dpi=200, metadata=said, bbox_inches="tight")
        figure.clear()
        return self.folder / f"{name}.{next(iter(metadata))}"


def curve_style(index: int, count: int) -> dict[str, Any]:
    """Look of the index-th of `count` curves: colours, then dashes; the widest first, so that equal ones show."""
    return {
        "color": CURVE_COLORS[index % 7],
        "linestyle": ("-", "--", "-.", ":")[index // 7 % 4],
        "linewidth": 1.1 + 2.2 * (count - 1 - index) / count,
    }


def drawable(text: str) -> str:
    """The text with what the font has no glyph for in Latin letters, so that no name becomes a row of boxes."""
    return "".join(letter if ord(letter) in _glyphs() else anyascii(letter) or "?" for letter in text)


@cache
def _glyphs() -> frozenset[int]:
    """Code points of matplotlib's own font, the same on every machine."""
    return frozenset(font_manager.get_font(font_manager.findfont("DejaVu Sans")).get_charmap())
