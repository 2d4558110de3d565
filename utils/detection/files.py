"""Any number of image files through a detector in bounded memory, and what is written about them: CSV, JSON, sheet."""

import csv
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from utils.data.decode import UnreadableImage, open_rgb, resize_center_crop
from utils.data.images import read_image
from utils.detection.contact_sheet import GREEN, PICTURE, RED, Group, Picture, draw_contact_sheet, pick_rows
from utils.detection.detector import Detector
from utils.errors import UserError, shown
from utils.files import atomic_write

CSV_COLUMNS = ("path", "score", "id_or_ood", "nearest_class", "probability", "error")


class Result(NamedTuple):
    """One image: its score (larger = more ID), nearest class ("" where none is known), and that class's probability
    under the vMF mixture (None without prototypes).
    """

    path: Path
    score: float
    nearest_class: str
    probability: float | None


class Fault(NamedTuple):
    """A file that could not be decoded, and why."""

    path: Path
    error: str


def examine_files(detector: Detector, paths: Sequence[Path], *, threads: int) -> list[Result | Fault]:
    """Score image files in their order, one batch in memory at a time, with a progress bar on a terminal.

    Raises:
        UserError: none can be read.
    """
    rows: list[Result | Fault] = []
    with tqdm(total=len(paths), unit="img", leave=False, disable=None) as progress:
        for batch in decode_stream(paths, detector.size, batch_size=detector.batch_size, threads=threads):
            good = _examine_batch(detector, [(path, found) for path, found in batch if not isinstance(found, str)])
            rows += [Fault(path, found) if isinstance(found, str) else next(good) for path, found in batch]
            progress.update(len(batch))
    if not images_of(rows):
        raise UserError(
            f"none of {len(paths):,} images can be read.\n  for example: {shown(rows[0].path)}: {rows[0].error}"
        )
    return rows


def images_of(rows: Sequence[Result | Fault]) -> list[Result]:
    """Those that could be read."""
    return [row for row in rows if isinstance(row, Result)]


def _examine_batch(detector: Detector, decoded: Sequence[tuple[Path, np.ndarray]]) -> Iterator[Result]:
    if not decoded:
        return
    paths, pixels = zip(*decoded, strict=True)
    scores, classes, probabilities = detector.examine(torch.from_numpy(np.stack(pixels)))
    names = [""] * len(paths) if classes is None else [detector.class_names[number] for number in classes.tolist()]
    shares = [None] * len(paths) if probabilities is None else probabilities.tolist()
    yield from map(Result, paths, scores.tolist(), names, shares)


def decode_stream(
    paths: Sequence[Path], size: int, *, batch_size: int, threads: int
) -> Iterator[list[tuple[Path, np.ndarray | str]]]:
    """Yield batches of files in order, each with its pixels (3, S, S) uint8 after the test transform, or what is wrong.

    While a batch is in use the next one is decoded by threads.
    """

    def decode(path: Path) -> np.ndarray | str:
        try:
            return resize_center_crop(open_rgb(path), size)
        except UnreadableImage as error:
            return str(error)

    chunks = [paths[start : start + batch_size] for start in range(0, len(paths), batch_size)]
    with ThreadPoolExecutor(max(1, threads)) as pool:
        ahead = pool.map(decode, paths[:batch_size])
        for chunk, following in zip(chunks, [*chunks[1:], ()], strict=True):
            current, ahead = ahead, pool.map(decode, following)
            yield list(zip(chunk, current, strict=True))


def verdict(result: Result, threshold: float) -> str:
    """ "ID" where the score reaches the threshold, else "OOD"."""
    return "ID" if result.score >= threshold else "OOD"


def write_csv(path: Path, rows: Sequence[Result | Fault], threshold: float) -> None:
    """Write CSV_COLUMNS for each file, in their order; a file that can not be read has no more than its error."""
    with atomic_write(path, "w") as stream:
        table = csv.DictWriter(stream, CSV_COLUMNS, lineterminator="\n")
        table.writeheader()
        for values in _known(rows, threshold):
            # nine digits tell any two float32 numbers apart
            digits = {name: f"{values[name]:{form}}" for name, form in _DIGITS.items() if name in values}
            table.writerow(values | digits)


_DIGITS = {"score": ".9g", "probability": ".4f"}


def write_json(path: Path, rows: Sequence[Result | Fault], threshold: float, *, score: str, checkpoint: Path) -> None:
    """Write one object: score, threshold and checkpoint, and `images`, an object of CSV_COLUMNS for each file.

    What is not known of an image is left out.
    """
    about = {"checkpoint": shown(checkpoint), "score": score, "threshold": threshold}
    with atomic_write(path, "w") as stream:
        json.dump({**about, "images": _known(rows, threshold)}, stream, indent=1)


def _known(rows: Sequence[Result | Fault], threshold: float) -> list[dict[str, Any]]:
    """What is known of each file, by column."""
    found = []
    for row in rows:
        values = row._asdict() | {"path": shown(row.path)}
        if isinstance(row, Result):
            values["id_or_ood"] = verdict(row, threshold)
        found.append({name: values[name] for name in CSV_COLUMNS if values.get(name) not in (None, "")})
    return found


def as_lines(images: Sequence[Result], threshold: float) -> str:
    """A line for each image, aligned."""
    width = max(len(shown(each.path)) for each in images)
    return "\n".join(
        f"{shown(each.path):<{width}}  {each.score:>10.6f}  {verdict(each, threshold):<3}  {_class_text(each)}".rstrip()
        for each in images
    )


def draw_sheet(
    path: Path, images: Sequence[Result], threshold: float, limit: int, *, title: str, subtitle: str
) -> None:
    """Draw at most `limit` pictures as a contact sheet: ID above OOD, each from the highest score down."""
    ranking = sorted(images, key=lambda each: -each.score)
    accepted = sum(each.score >= threshold for each in ranking)
    sides = (("In-distribution", GREEN, ranking[:accepted]), ("Out-of-distribution", RED, ranking[accepted:]))
    picked = pick_rows(accepted, len(ranking) - accepted, limit)
    groups = []
    for (name, color, side), rows in zip(sides, picked, strict=True):
        remark = "highest score first"
        if len(rows) < len(side):
            remark = f"{len(rows)} of {len(side):,} shown, evenly over the ranking, {remark}"
        groups.append(Group(f"{name}: {len(side):,}", remark, color, [_picture(side[row]) for row in rows]))
    draw_contact_sheet(path, title, subtitle, groups)


def _picture(result: Result) -> Picture:
    pixels = resize_center_crop(read_image(result.path), PICTURE).transpose(1, 2, 0)
    score = f"{result.score:.4f}".replace("-", "\N{MINUS SIGN}")
    lines = (score, _class_text(result), shown(result.path.name))
    return Picture(np.ascontiguousarray(pixels), tuple(line for line in lines if line))


def _class_text(result: Result) -> str:
    share = "" if result.probability is None else f" · {100 * result.probability:.0f} %"
    return f"{result.nearest_class}{share}"
