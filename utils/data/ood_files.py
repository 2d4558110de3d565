"""Finding an OOD set of the table below the OOD root, whatever the case of the folder names."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from utils.data import cifar
from utils.data.id_records import id_set
from utils.data.ood_table import OODSet
from utils.data.places import children, is_folder, require_folder, shown
from utils.errors import UserError
from utils.files import typed

T = TypeVar("T")
# How a list of images begins that were drawn here, not by the authors of a benchmark.
DRAWN_HERE = "# drawn by prepare_data.py: "


class MissingSet(UserError):
    """An OOD set that is not on disk. Attributes: name, path (where it was looked for first), source."""

    def __init__(self, row: OODSet, places: list[Path], remark: str = "") -> None:
        looked = "\n               ".join(shown(place) for place in places)
        by = f"{typed('scripts/prepare_data.py')} --only {row.name}, or from {row.source}"
        super().__init__(
            f"{row.name} not found{remark}.\n  looked for : {looked}\n  get it by  : {by}\n"
            f"  or         : pass --ood-loc /path/to/folder, or NAME=PATH for a folder of your own images"
        )
        self.name = row.name
        self.path = places[0]
        self.source = row.source


def existing_places(root: Path, folders: tuple[str, ...]) -> list[Path]:
    """The folders below `root` that match one of `folders`, best first; upper and lower case are not told apart."""
    if not is_folder(root):
        if os.path.lexists(root):
            require_folder(root)
        return []
    found = []
    for folder in folders:
        places = [root]
        for part in Path(folder).parts:
            places = [match for place in places for match in _children(place, part)]
        found += [place for place in places if place not in found]
    return found


def find_cifar_set(row: OODSet, root: Path) -> Path:
    """The folder of the batches of a CIFAR as an OOD set: below the OOD root, beside it, or where the ID set is."""
    own_folder = id_set(row.name).folder
    places = [root, *existing_places(root, row.folders), *existing_places(root.parent, row.folders), own_folder]
    folder = cifar.find_cifar(row.name, places)
    if folder is None:
        facts = cifar.cifar_facts(row.name)
        raise MissingSet(row, [place / facts.base_folder / facts.test_list[0][0] for place in (root, own_folder)])
    return folder


def first_loaded(row: OODSet, root: Path, load: Callable[[Path], T], files: Sequence[str], remark: str = "") -> T:
    """What `load` makes of the first folder of a set below `root` where it raises no FileNotFoundError.

    Args:
        files: of which one was looked for, for the message.
    """
    for folder in existing_places(root, row.folders):
        try:
            return load(folder)
        except FileNotFoundError:
            continue
    raise MissingSet(row, [root / row.folders[0] / name for name in files], remark)


def list_file_beside(place: Path) -> Path:
    """Where the list stands that says which images of a larger set were drawn into the folder `place`."""
    return place.with_name(place.name + ".txt")


def is_own_draw(place: Path) -> bool:
    """Whether the images in `place` were drawn by prepare_data.py, which says so in the first line of the list."""
    try:
        with open(list_file_beside(place), encoding="utf-8-sig", errors="replace") as stream:
            return stream.readline().startswith(DRAWN_HERE)
    except OSError:
        return False


def _children(place: Path, name: str) -> list[Path]:
    matches = [child for child in children(place) if child.name.casefold() == name.casefold() and is_folder(child)]
    return sorted(matches, key=lambda child: (child.name != name, child.name))
