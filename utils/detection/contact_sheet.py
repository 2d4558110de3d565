"""A contact sheet: pictures sorted by score, in green and red frames, with the score under each."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from utils.files import atomic_write

GREEN, RED = "#2E9E5B", "#D64541"
INK, GREY, PAPER = "#222222", "#777777", "#FFFFFF"
PICTURE = 112  # pixels of a side
FRAME = 5
GAP = 14
MARGIN = 32
CAPTION_LINE = 16
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
    lines = max(len(picture.caption) for group in groups for picture in group.pictures)
    cell = PICTURE + 2 * FRAME
    row_height = cell + 6 + lines * CAPTION_LINE + GAP
    rows = [-(-len(group.pictures) // columns) for group in groups]
    width = 2 * MARGIN + columns * (cell + GAP) - GAP
    height = MARGIN + 66 + sum(46 + count * row_height for count in rows) + MARGIN - GAP
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    _text(draw, (MARGIN, MARGIN - 6), title, 24, bold=True, room=width - 2 * MARGIN)
    _text(draw, (MARGIN, MARGIN + 28), subtitle, 14, color=GREY, room=width - 2 * MARGIN)
    top = MARGIN + 66
    for group, count in zip(groups, rows, strict=True):
        draw.line((MARGIN, top, width - MARGIN, top), fill="#DDDDDD")
        draw.rounded_rectangle((MARGIN, top + 14, MARGIN + 14, top + 28), 4, fill=group.color)
        end = _text(draw, (MARGIN + 24, top + 11), group.heading, 16, bold=True, color=group.color)
        _text(draw, (end + 14, top + 13), group.remark, 14, color=GREY, room=width - MARGIN - end - 14)
        for number, picture in enumerate(group.pictures):
            row, column = divmod(number, columns)
            _picture(sheet, draw, picture, MARGIN + column * (cell + GAP), top + 46 + row * row_height, group.color)
        top += 46 + count * row_height
    with atomic_write(path) as stream:
        sheet.save(stream, format="PNG", optimize=True)


def _picture(sheet: Image.Image, draw: ImageDraw.ImageDraw, picture: Picture, x: int, y: int, color: str) -> None:
    cell = PICTURE + 2 * FRAME
    draw.rounded_rectangle((x, y, x + cell - 1, y + cell - 1), FRAME, fill=color)
    sheet.paste(Image.fromarray(picture.pixels), (x + FRAME, y + FRAME))
    for line, text in enumerate(picture.caption):
        size, ink = (11, GREY) if line else (13, INK)
        _text(draw, (x + 1, y + cell + 5 + line * CAPTION_LINE), text, size, bold=not line, color=ink, room=cell)


def _text(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    size: int,
    *,
    bold: bool = False,
    color: str = INK,
    room: int | None = None,
) -> int:
    """Write one line, its middle cut out where it is longer than `room`; returns where it ends."""
    font = _font(size, bold)
    # What the font cannot draw, a line break above all, would spoil the layout.
    text = shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    keep = len(text)
    while room is not None and keep > 1 and font.getlength(shown) > room:
        keep -= 1
        shown = f"{text[: keep // 2]}…{text[len(text) - (keep - keep // 2) :]}"
    draw.text(place, shown, fill=color, font=font)
    return place[0] + round(font.getlength(shown))


def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    # matplotlib brings a font that is the same everywhere and knows most alphabets.
    from matplotlib import get_data_path

    return ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans{'-Bold' if bold else ''}.ttf", size)
