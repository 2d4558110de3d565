"""A contact sheet: pictures sorted by score, in green and red frames, with the score under each."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from utils.files import atomic_write

GREEN, RED = "#2E9E5B", "#D64541"
INK, GREY, PAPER = "#222222", "#777777", "#FFFFFF"
PICTURE = 112  # pixels of a side
FRAME = 5
CELL = PICTURE + 2 * FRAME
GAP = 14
MARGIN = 32
MIN_COLUMNS, MAX_COLUMNS = 6, 12


class Picture(NamedTuple):
    """One picture: (PICTURE, PICTURE, 3) uint8 pixels, and the lines of text below it, the score first."""

    pixels: np.ndarray
    caption: Sequence[str]


class Group(NamedTuple):
    """Pictures under one heading, in frames of one colour."""

    heading: str
    remark: str
    color: str
    pictures: Sequence[Picture]


def pick_rows(accepted: int, rejected: int, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Which of two rankings to show, in positions from 0: all where they fit, else evenly over each, with both ends.

    Neither side gets less than a quarter of the places as long as it has so many pictures: a few OOD images among
    thousands are what one looks for.
    """
    least = limit // 4
    share = round(limit * accepted / max(1, accepted + rejected))
    first = min(accepted, max(share, least, limit - rejected))
    first = max(min(first, limit - min(rejected, least)), 0)
    return _evenly(accepted, first), _evenly(rejected, min(rejected, limit - first))


def _evenly(count: int, places: int) -> np.ndarray:
    return np.linspace(0, count - 1, places).round().astype(int) if places else np.empty(0, int)


def draw_contact_sheet(path: Path, title: str, subtitle: str, groups: Sequence[Group]) -> None:
    """Write the sheet as PNG; groups without pictures are left out. An OSError where the file cannot be written."""
    groups = [group for group in groups if group.pictures]
    columns = max(MIN_COLUMNS, min(MAX_COLUMNS, max(len(group.pictures) for group in groups)))
    room = columns * (CELL + GAP) - GAP
    bands = [_text(title, 24, room, bold=True), _text(subtitle, 14, room, color=GREY)]
    for group in groups:
        heading = _text(group.heading, 16, room, bold=True, color=group.color)
        bands.append(_joined([heading, _text(group.remark, 16, room - heading.width - GAP, color=GREY)]))
        cells = [_cell(picture, group.color) for picture in group.pictures]
        bands += [_joined(cells[start : start + columns]) for start in range(0, len(cells), columns)]
    sheet = ImageOps.expand(_joined(bands, down=True), MARGIN, PAPER)
    with atomic_write(path) as stream:
        sheet.save(stream, format="PNG", optimize=True)


def _cell(picture: Picture, color: str) -> Image.Image:
    """A picture in its frame, above its caption."""
    score, *others = picture.caption
    framed = ImageOps.expand(Image.fromarray(picture.pixels), FRAME, color)
    caption = [_text(score, 13, CELL, bold=True), *(_text(line, 11, CELL, color=GREY) for line in others)]
    return _joined([framed, *caption], gap=1, down=True)


def _joined(images: Sequence[Image.Image], *, gap: int = GAP, down: bool = False) -> Image.Image:
    """Images side by side, or each below the one before."""
    widths, heights = zip(*(image.size for image in images), strict=True)
    between = gap * (len(images) - 1)
    size = (max(widths), sum(heights) + between) if down else (sum(widths) + between, max(heights))
    joined, place = Image.new("RGB", size, PAPER), 0
    for image in images:
        joined.paste(image, (0, place) if down else (place, 0))
        place += gap + (image.height if down else image.width)
    return joined


def _text(text: str, size: int, room: int, *, bold: bool = False, color: str = INK) -> Image.Image:
    """One line, its middle cut out where it is longer than `room`."""
    # matplotlib, which few need to wait for, brings a font that is the same everywhere and knows most alphabets.
    from matplotlib import get_data_path

    font = ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans{'-Bold' if bold else ''}.ttf", size)
    # What the font cannot draw, a line break above all, would spoil the layout.
    text = shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    keep = len(text)
    while keep > 1 and font.getlength(shown) > room:
        keep -= 1
        shown = f"{text[: keep // 2]}…{text[len(text) - (keep - keep // 2) :]}"
    line = Image.new("RGB", (math.ceil(font.getlength(shown)), sum(font.getmetrics())), PAPER)
    ImageDraw.Draw(line).text((0, 0), shown, fill=color, font=font)
    return line
