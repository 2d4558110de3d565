"""Image files through a detector, of any number, and what is written about them: CSV and contact sheet."""

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from utils.data.decode import resize_center_crop
from utils.data.image_folder import shown
from utils.data.images import read_image
from utils.detection.contact_sheet import GREEN, PICTURE, RED, Group, Picture, draw_contact_sheet, pick_rows
from utils.detection.detector import Detector
from utils.detection.stream import Fault, decode_stream
from utils.errors import UserError
from utils.files import atomic_write

CSV_COLUMNS = ("path", "score", "id_or_ood", "nearest_class", "probability")


class Result(NamedTuple):
    """One image: its score (larger = more ID), nearest class ("" where none is known), and that class's probability
    under the vMF mixture (None without prototypes).
    """

    path: Path
    score: float
    nearest_class: str
    probability: float | None


@dataclass(frozen=True)
class Results:
    """Results in the order of the files, and the files that could not be read."""

    images: list[Result] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def examine_files(detector: Detector, paths: tuple[Path, ...], *, batch_size: int, threads: int) -> Results:
    """Score image files, one batch in memory at a time, with a progress bar on a terminal.

    Raises:
        UserError: none can be read.
    """
    results = Results()
    with tqdm(total=len(paths), unit="img", leave=False, disable=None) as progress:
        for batch in decode_stream(paths, detector.size, batch_size=batch_size, threads=threads):
            results.faults.extend(batch.faults)
            if batch.paths:
                found = detector.examine(batch.images)
                count = len(batch.paths)
                names = [""] * count
                if found.classes is not None:
                    names = [detector.class_names[number] for number in found.classes.tolist()]
                probabilities = [None] * count if found.probabilities is None else found.probabilities.tolist()
                results.images.extend(map(Result, batch.paths, found.scores.tolist(), names, probabilities))
            progress.update(len(batch.paths) + len(batch.faults))
    if not results.images:
        first = results.faults[0]
        raise UserError(
            f"none of {len(paths):,} images can be read.\n  for example: {shown(first.path)}: {first.reason}"
        )
    return results


def verdict(result: Result, threshold: float) -> str:
    """ "ID" where the score reaches the threshold, else "OOD"."""
    return "ID" if result.score >= threshold else "OOD"


def write_csv(path: Path, results: Results, threshold: float) -> None:
    """Write CSV_COLUMNS for each image, in the order of the files."""
    with atomic_write(path, "w") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(CSV_COLUMNS)
        for each in results.images:
            probability = "" if each.probability is None else f"{each.probability:.4f}"
            # nine digits tell any two float32 numbers apart
            score = f"{each.score:.9g}"
            table.writerow((shown(each.path), score, verdict(each, threshold), each.nearest_class, probability))


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
