"""The images of OpenOOD v1.5 (Zhang et al. 2023) for CIFAR-10 and CIFAR-100, by its own lists.

The lists are in openood_v15.json, which names where they are from. CIFAR's images stand there by their number within
the class; that OpenOOD's numbers follow the official order of the test set is not verified. Sets are never cut.
"""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from utils.data import cifar, mnist, svhn
from utils.data.id_records import id_set
from utils.data.id_sets import IDData
from utils.data.image_folder import list_images, load_files
from utils.data.images import ImageSet, TensorImages
from utils.data.ood_files import MissingSet, existing_places, find_cifar_set, first_loaded
from utils.data.ood_table import OPENOOD_COUNTS, OODSet, find_ood_set
from utils.data.resize import resized
from utils.errors import UserError
from utils.files import file_sha256

LISTS = Path(__file__).with_name("openood_v15.json")
TIN_VALIDATION_COUNTS = {"CIFAR-10": 1_000, "CIFAR-100": 972}
_TIN_NUMBERS, _PLACES_NUMBERS = range(10_000), range(1, 36_501)
_TIN_FILE, _PLACES_FILE = re.compile(r"val_(\d+)\.\w+"), re.compile(r"Places365_val_(\d{8})\.\w+")


@dataclass(frozen=True)
class IDRows:
    """Rows of the ID test set, ascending: 9,000 that are scored, and 1,000 of ID validation, by which K is chosen.

    whole: all of them are there; a test set that was cut has fewer.
    """

    test: Tensor
    validation: Tensor
    whole: bool


def openood_count(name: str, id_name: str) -> int | None:
    """Images of a whole OOD set of the benchmark; None where it has no such set for this ID set."""
    return OPENOOD_COUNTS.get(id_name, {}).get(name)


def id_rows(id_data: IDData) -> IDRows:
    """How OpenOOD divides the test set of a CIFAR. UserError: another ID set."""
    labels = id_data.test.labels
    validation = _rows_within_class(labels, _lists(id_data.name)["id_validation"])
    is_test = torch.ones(len(labels), dtype=torch.bool)
    is_test[validation] = False
    test = is_test.nonzero().squeeze(1)
    return IDRows(test, validation, (len(test), len(validation)) == (9_000, 1_000))


def load_set(name: str, id_data: IDData, root: str | Path | None = None) -> ImageSet:
    """One OOD set of the benchmark: all of it, at the size of the ID set (Resize + CenterCrop, bilinear).

    Args:
        name: as in OPENOOD_COUNTS, in any usual spelling; places365 are the validation images of Places365.
        root: folder that holds the OOD sets; None for the default place.
    Returns:
        the images; official_complete says whether all are there, and the name how many if not.
    Raises:
        MissingSet: not on disk.
        UserError: another ID set, a set that the benchmark does not have, a damaged file.
    """
    lists = _lists(id_data.name)
    row = find_ood_set(name)
    count = openood_count(row.name if row else name, id_data.name)
    if count is None:
        known = ", ".join(OPENOOD_COUNTS[id_data.name])
        raise UserError(f"OpenOOD has no OOD set {name} for {id_data.name}\n  known      : {known}")
    root = id_set(id_data.name).ood_folder if root is None else Path(root)
    if row.name == "TIN":
        loaded = _numbered(
            row, root, _TIN_FILE, _without(_TIN_NUMBERS, lists["tin_left_out"] + lists["tin_validation"])
        )
    elif row.name == "places365":
        numbers = _without(_PLACES_NUMBERS, lists["places365_left_out"])
        loaded = _numbered(find_ood_set("Places365-val"), root, _PLACES_FILE, numbers)
    elif row.name == "dtd":
        loaded = _numbered(row, root)
    else:
        loaded = {"SVHN": _svhn, "MNIST": _mnist}.get(row.name, _near_cifar)(row, root, lists)
    return _named(_at_size(loaded, id_data.size), row.name, count)


def validation_set(id_data: IDData, root: str | Path | None = None) -> ImageSet:
    """The Tiny-ImageNet images by which K is chosen, none of which is in TIN. Errors as `load_set`."""
    numbers = _lists(id_data.name)["tin_validation"]
    root = id_set(id_data.name).ood_folder if root is None else Path(root)
    loaded = _at_size(_numbered(find_ood_set("TIN"), root, _TIN_FILE, numbers), id_data.size)
    return _named(loaded, "TIN validation", TIN_VALIDATION_COUNTS[id_data.name])


def lists_sha256() -> str:
    """SHA-256 of the file of lists."""
    return file_sha256(LISTS)


@cache
def _all_lists() -> dict[str, Any]:
    return json.loads(LISTS.read_text(encoding="utf-8"))


def _lists(id_name: str) -> dict[str, Any]:
    if id_name not in OPENOOD_COUNTS:
        raise UserError(f"OpenOOD v1.5 is here for {' and '.join(OPENOOD_COUNTS)}, not for {id_name}")
    return _all_lists()[id_name]


def _without(numbers: range, left_out: Collection[int]) -> set[int]:
    return set(numbers) - set(left_out)


def _rows_within_class(labels: Tensor, numbers: list[list[int]]) -> Tensor:
    """Rows, ascending, of those images that have these numbers, counted from 1, within their class."""
    rows = [torch.empty(0, dtype=torch.int64)]
    for label, wanted in enumerate(numbers):
        of_class = (labels == label).nonzero().squeeze(1)
        rows.append(of_class[[number - 1 for number in wanted if number <= len(of_class)]])
    return torch.cat(rows).sort().values


Loaded = tuple[list[Path] | Tensor, tuple[str, ...], str]


def _numbered(row: OODSet, root: Path, name: re.Pattern | None = None, numbers: Collection[int] = ()) -> Loaded:
    """Files of a set whose names hold one of these numbers; all of them without a pattern."""
    places = existing_places(root, row.folders)
    for place in places:
        paths = list(list_images(place).paths)
        if name is not None:
            paths = [path for path in paths if (match := name.fullmatch(path.name)) and int(match[1]) in numbers]
        if paths:
            return paths, (), row.name
    remark = " (the folder is there, but holds none of its images)" if places else ""
    raise MissingSet(row, [root / folder for folder in row.folders], remark)


def _svhn(row: OODSet, root: Path, _: object) -> Loaded:
    remark = " (the whole test set)"
    return (*first_loaded(row, root, svhn.load_full_svhn, [svhn.FULL_FILE], remark), row.name)


def _mnist(row: OODSet, root: Path, _: object) -> Loaded:
    return first_loaded(row, root, mnist.load_mnist, mnist.FILES), (), row.name


def _near_cifar(row: OODSet, root: Path, lists: dict[str, Any]) -> Loaded:
    split = cifar.read_split(row.name, find_cifar_set(row, root), "test")
    keep = torch.ones(len(split.labels), dtype=torch.bool)
    keep[_rows_within_class(split.labels, lists.get("near_left_out", []))] = False
    return split.images[keep], cifar.file_notes(row.name, split), row.name


def _at_size(loaded: Loaded, size: int) -> ImageSet:
    images, notes, name = loaded
    if isinstance(images, Tensor):
        return TensorImages(name, resized(images, size), notes=notes)
    return load_files(name, images, size, notes=notes)


def _named(images: ImageSet, name: str, count: int) -> ImageSet:
    found = len(images)
    images.official_complete = found == count
    what = "partial" if found < count else "another selection"
    images.name = name if found == count else f"{name} ({what}, {found:,} of {count:,})"
    return images
