"""Finding an OOD set of the table below the OOD root, and what the set is called by what was found."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from torch import Tensor

from utils.data import cifar, mnist, svhn
from utils.data.id_records import id_set
from utils.data.image_folder import load_files
from utils.data.images import ImageSet, TensorImages, resized
from utils.data.ood_table import OODSet
from utils.data.places import is_folder, require_folder
from utils.errors import UserError, shown
from utils.files import typed

Notes = tuple[str, ...]
# How a list of images begins that were drawn here, not by the authors of a benchmark.
DRAWN_HERE = "# drawn by prepare_data.py: "


class MissingSet(UserError):
    """An OOD set, by its `name`, that is not on disk."""

    def __init__(self, row: OODSet, places: list[Path], remark: str = "") -> None:
        looked = "\n               ".join(shown(place) for place in places)
        by = f"{typed('scripts/prepare_data.py')} --only {row.name}, or from {row.source}"
        super().__init__(
            f"{row.name} not found{remark}.\n  looked for : {looked}\n  get it by  : {by}\n"
            f"  or         : pass --ood-loc /path/to/folder, or NAME=PATH for a folder of your own images"
        )
        self.name = row.name


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
            matches = [
                child
                for place in places
                for child in place.iterdir()
                if child.name.casefold() == part.casefold() and is_folder(child)
            ]
            places = sorted(matches, key=lambda child: (child.name != part, child))
        found += [place for place in places if place not in found]
    return found


def load_arrays(row: OODSet, root: Path, *, whole: bool = False) -> tuple[Tensor, Notes]:
    """Images (N, 3, S, S) uint8 and notes of SVHN (its selection, or the whole test set) or MNIST, below `root`."""
    load = partial(svhn.load_svhn, whole=whole) if row.kind == "svhn" else mnist.load_mnist
    for folder in existing_places(root, row.folders):
        try:
            return load(folder)
        except FileNotFoundError:
            continue
    files, remark = mnist.FILES, ""
    if row.kind == "svhn":
        files = (svhn.FULL_FILE,) if whole else (svhn.FULL_FILE, svhn.SELECTED_FILE)
        remark = " (the whole test set)" if whole else ""
    raise MissingSet(row, [root / row.folders[0] / name for name in files], remark)


def find_cifar_set(row: OODSet, root: Path) -> Path:
    """The folder of the batches of a CIFAR as an OOD set: below the OOD root, beside it, or where the ID set is."""
    own_folder = id_set(row.name).folder
    places = [root, *existing_places(root, row.folders), *existing_places(root.parent, row.folders), own_folder]
    folder = cifar.find_cifar(row.name, places)
    if folder is None:
        facts = cifar.cifar_facts(row.name)
        raise MissingSet(row, [place / facts.base_folder / facts.test_list[0][0] for place in (root, own_folder)])
    return folder


def load_cifar_set(row: OODSet, root: Path) -> tuple[Tensor, Tensor, Notes]:
    """Test images and labels of a CIFAR, and notes."""
    files = cifar.CifarFiles(row.name, find_cifar_set(row, root))
    return (*files.images("test"), files.notes())


def at_size(name: str, content: Tensor | Sequence[Path], size: int, notes: Notes = ()) -> ImageSet:
    """Images in memory, or those of files, after the test transform."""
    if isinstance(content, Tensor):
        return TensorImages(name, resized(content, size), notes=notes)
    return load_files(name, content, size, notes=notes)


def named_by_count(images: ImageSet, name: str, count: int, found: int | None = None, *, doubt: str = "") -> ImageSet:
    """Say by the name and by official_complete how the images found compare with the official set.

    Args:
        count: of the official set.    found: before a large set was cut; None for all of `images`.
        doubt: what else keeps the set from being the official one.
    """
    found = len(images) if found is None else found
    if found < count:
        doubt = f"partial, {found:,} of {count:,}"
    elif found > count:
        doubt = f"another selection, {len(images):,} of {found:,}"
    elif len(images) < found:
        doubt = f"drawn, {len(images):,} of {found:,}"
    images.name = f"{name} ({doubt})" if doubt else name
    images.official_complete = not doubt
    return images


def list_file_beside(place: Path) -> Path:
    """Where the list stands that says which images of a larger set were drawn into the folder `place`."""
    return place.with_name(place.name + ".txt")
