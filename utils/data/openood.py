"""The images of OpenOOD v1.5 (Zhang et al. 2023) for CIFAR-10 and CIFAR-100, by its own lists.

The lists are in openood_v15.json, which names where they are from. CIFAR's images stand there by their number within
the class; that OpenOOD's numbers follow the official order of the test set is not verified. Sets are never cut.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from utils.data.id_records import id_set
from utils.data.id_sets import IDData
from utils.data.image_folder import list_images
from utils.data.images import ImageSet
from utils.data.ood_files import MissingSet, at_size, existing_places, load_arrays, load_cifar_set, named_by_count
from utils.data.ood_table import OPENOOD_COUNTS, OPENOOD_FILES, find_ood_set
from utils.data.places import as_user_errors
from utils.errors import UserError
from utils.files import file_sha256, read_json

LISTS = Path(__file__).with_name("openood_v15.json")
TIN_VALIDATION_COUNTS = {"CIFAR-10": 1_000, "CIFAR-100": 972}
# Set of the table -> how its files are numbered.
_NUMBERED = {"TIN": re.compile(r"val_(\d+)\.\w+"), "Places365-val": re.compile(r"Places365_val_(\d{8})\.\w+")}


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
    validation = _numbered_within_class(id_data.test.labels, _lists(id_data.name)["id_validation"])
    test, validation = ((~validation).nonzero().squeeze(1), validation.nonzero().squeeze(1))
    return IDRows(test, validation, (len(test), len(validation)) == (9_000, 1_000))


@as_user_errors()
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
    root = Path(root or id_set(id_data.name).ood_folder)
    notes = ()
    if row.kind in ("svhn", "mnist"):
        content, notes = load_arrays(row, root, whole=True)
    elif row.kind == "cifar":
        images, labels, notes = load_cifar_set(row, root)
        content = images[~_numbered_within_class(labels, lists.get("near_left_out", []))]
    elif row.name == "TIN":
        left_out = {*lists["tin_left_out"], *lists["tin_validation"]}
        content = _files("TIN", root, lambda number: number not in left_out)
    elif row.name == "places365":
        left_out = set(lists["places365_left_out"])
        content = _files(OPENOOD_FILES[row.name], root, lambda number: number not in left_out)
    else:
        content = _files(row.name, root)
    return named_by_count(at_size(row.name, content, id_data.size, notes), row.name, count)


@as_user_errors()
def validation_set(id_data: IDData, root: str | Path | None = None) -> ImageSet:
    """The Tiny-ImageNet images by which K is chosen, none of which is in TIN. Errors as `load_set`."""
    numbers = _lists(id_data.name)["tin_validation"]
    content = _files("TIN", Path(root or id_set(id_data.name).ood_folder), set(numbers).__contains__)
    loaded = at_size("TIN", content, id_data.size)
    return named_by_count(loaded, "TIN validation", TIN_VALIDATION_COUNTS[id_data.name])


def lists_sha256() -> str:
    """SHA-256 of the file of lists."""
    return file_sha256(LISTS)


@cache
def _lists(id_name: str) -> dict[str, Any]:
    if id_name not in OPENOOD_COUNTS:
        raise UserError(f"OpenOOD v1.5 is here for {' and '.join(OPENOOD_COUNTS)}, not for {id_name}")
    return read_json(LISTS)[id_name]


def _numbered_within_class(labels: Tensor, numbers: list[list[int]]) -> Tensor:
    """(N,) bool: the images that have these numbers, counted from 1, within their class."""
    found = torch.zeros(len(labels), dtype=torch.bool)
    for label, wanted in enumerate(numbers):
        of_class = (labels == label).nonzero().squeeze(1)
        found[of_class[[number - 1 for number in wanted if number <= len(of_class)]]] = True
    return found


def _files(name: str, root: Path, keep: Callable[[int], bool] | None = None) -> Sequence[Path]:
    """Files of a set of the table; with `keep` those for whose numbers it is true."""
    row = find_ood_set(name)
    places = existing_places(root, row.folders)
    for place in places:
        paths = list_images(place).paths
        if keep is not None:
            numbered = ((path, _NUMBERED[name].fullmatch(path.name)) for path in paths)
            paths = [path for path, match in numbered if match and keep(int(match[1]))]
        if paths:
            return paths
    remark = " (the folder is there, but holds none of its images)" if places else ""
    raise MissingSet(row, [root / folder for folder in row.folders], remark)
