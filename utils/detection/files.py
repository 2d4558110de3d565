"""Any number of image files through a detector in bounded memory, and what is written about them: CSV, JSON, sheet."""

import csv
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

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
    reason: str


@dataclass(frozen=True)
class Results:
    """What was found, in the order of the files."""

    rows: tuple[Result | Fault, ...]

    @property
    def images(self) -> list[Result]:
        """Those that could be read."""
        return [row for row in self.rows if isinstance(row, Result)]

    @property
    def faults(self) -> list[Fault]:
        """Those that could not."""
        return [row for row in self.rows if isinstance(row, Fault)]


def examine_files(detector: Detector, paths: Sequence[Path], *, batch_size: int, threads: int) -> Results:
    """Score image files, one batch in memory at a time, with a progress bar on a terminal.

    Raises:
        UserError: none can be read.
    """
    rows: list[Result | Fault] = []
    with tqdm(total=len(paths), unit="img", leave=False, disable=None) as progress:
        for batch in decode_stream(paths, detector.size, batch_size=batch_size, threads=threads):
            good = _examine_batch(detector, [(path, found) for path, found in batch if not isinstance(found, str)])
            rows += [Fault(path, found) if isinstance(found, str) else next(good) for path, found in batch]
            progress.update(len(batch))
    results = Results(tuple(rows))
    if not results.images:
        first = results.faults[0]
        raise UserError(
            f"none of {len(paths):,} images can be read.\n  for example: {shown(first.path)}: {first.reason}"
        )
    return results


def _examine_batch(detector: Detector, decoded: Sequence[tuple[Path, np.ndarray]]) -> Iterator[Result]:
    if not decoded:
        return
    paths, pixels = zip(*decoded, strict=True)
    found = detector.examine(torch.from_numpy(np.stack(pixels)))
    classes = [""] * len(paths)
    if found.classes is not None:
        classes = [detector.class_names[number] for number in found.classes.tolist()]
    probabilities = [None] * len(paths) if found.probabilities is None else found.probabilities.tolist()
    yield from map(Result, paths, found.scores.tolist(), classes, probabilities)


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

    pool = ThreadPoolExecutor(max(1, threads))
    chunks = [paths[start : start + batch_size] for start in range(0, len(paths), batch_size)]
    try:
        ahead = [pool.submit(decode, path) for path in chunks[0]] if chunks else []
        for chunk, following in zip(chunks, [*chunks[1:], []], strict=True):
            current, ahead = ahead, [pool.submit(decode, path) for path in following]
            yield [(path, future.result()) for path, future in zip(chunk, current, strict=True)]
    finally:
        pool.shutdown(cancel_futures=True)


def verdict(result: Result, threshold: float) -> str:
    """ "ID" where the score reaches the threshold, else "OOD"."""
    return "ID" if result.score >= threshold else "OOD"


def write_csv(path: Path, results: Results, threshold: float) -> None:
    """Write CSV_COLUMNS for each file, in their order; a file that can not be read has no more than its error."""
    with atomic_write(path, "w") as stream:
        table = csv.DictWriter(stream, CSV_COLUMNS, lineterminator="\n")
        table.writeheader()
        for row in results.rows:
            values = _as_dict(row, threshold)
            if isinstance(row, Result):
                # nine digits tell any two float32 numbers apart
                values["score"] = f"{row.score:.9g}"
                values["probability"] = "" if row.probability is None else f"{row.probability:.4f}"
            table.writerow(values)


def write_json(path: Path, results: Results, threshold: float, *, score: str, checkpoint: Path) -> None:
    """Write one object: score, threshold and checkpoint, and `images`, an object of CSV_COLUMNS for each file.

    What is not known of an image is left out.
    """
    images = [
        {name: value for name, value in _as_dict(row, threshold).items() if value not in (None, "")}
        for row in results.rows
    ]
    about = {"checkpoint": shown(checkpoint), "score": score, "threshold": threshold}
    with atomic_write(path, "w") as stream:
        json.dump({**about, "images": images}, stream, indent=1)


def _as_dict(row: Result | Fault, threshold: float) -> dict[str, str | float | None]:
    if isinstance(row, Fault):
        return {"path": shown(row.path), "error": row.reason}
    return row._asdict() | {"path": shown(row.path), "id_or_ood": verdict(row, threshold)}


def as_lines(results: Results, threshold: float) -> str:
    """A line for each image, aligned."""
    width = max(len(shown(each.path)) for each in results.images)
    return "\n".join(
        f"{shown(each.path):<{width}}  {each.score:>10.6f}  {verdict(each, threshold):<3}  {_class_text(each)}".rstrip()
        for each in results.images
    )


def draw_sheet(path: Path, results: Results, threshold: float, limit: int, *, title: str, subtitle: str) -> None:
    """Draw at most `limit` pictures as a contact sheet: ID above OOD, each from the highest score down."""
    ranking = sorted(results.images, key=lambda each: -each.score)
    accepted = [each for each in ranking if each.score >= threshold]
    sides = (("In-distribution", GREEN, accepted), ("Out-of-distribution", RED, ranking[len(accepted) :]))
    picked = pick_rows(*(len(side) for _, _, side in sides), limit)
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
