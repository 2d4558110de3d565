"""OOD test sets by name: the sets of the table in ood_table.py, and any folder of your own as NAME=PATH."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from utils.data import digits, generated
from utils.data.id_records import id_set
from utils.data.id_sets import IDData
from utils.data.image_folder import list_images, other_files_note
from utils.data.images import ImageSet, TensorImages, resized
from utils.data.ood_files import (
    DRAWN_HERE,
    MissingSet,
    Notes,
    at_size,
    existing_places,
    find_cifar_set,
    list_file_beside,
    load_arrays,
    load_cifar_set,
    named_by_count,
)
from utils.data.ood_table import OOD_SETS, OODSet, find_ood_set
from utils.data.openood import load_set, openood_count
from utils.data.places import as_user_errors, is_file
from utils.data.svhn import FULL_FILE
from utils.errors import UserError, shown

# A set that is larger is cut to a fixed subset of this many images.
MAX_IMAGES = 10_000
# Generated sets are as large as the ID test set, up to MAX_IMAGES, and up to this where an image is large.
MAX_LARGE_GENERATED = 1_000


@as_user_errors()
def absent_sets(names: Sequence[str], id_name: str, root: Path | None, *, whole: bool = False) -> list[str]:
    """Those of some sets of the table that are not on disk; `root` holds them, None for the ID set's default place.

    With `whole`, SVHN is absent where only the selection of its images is there.
    """
    root = root or id_set(id_name).ood_folder

    def is_absent(row: OODSet) -> bool:
        if row.kind != "cifar":
            places = existing_places(root, row.folders)
            if row.kind == "svhn" and whole:
                places = [place for place in places if is_file(place / FULL_FILE)]
            return bool(row.folders) and not places
        try:
            return not find_cifar_set(row, root)
        except MissingSet:
            return True

    return [name for name in names if is_absent(find_ood_set(name))]


@as_user_errors()
def load_ood(name: str, id_data: IDData, root: str | Path | None = None, *, seed: int = 0) -> ImageSet:
    """Load one OOD set at the size and with the test transform of the ID set.

    Args:
        name: a name of the table, in any case, or NAME=PATH for a folder of images, flat or with folders inside.
        root: folder that holds the sets; None for the default place.
        seed: for generated sets and for the subset of a set of more than 10,000 images.
    Returns:
        the images; official_complete says whether it is the whole benchmark set, and the name says what else it is.
    Raises:
        MissingSet: not on disk.
        UserError: unknown name, or a damaged file.
    """
    if "=" in name:
        return _own_folder(*name.split("=", 1), id_data.size, seed)
    row = find_ood_set(name)
    if row is None:
        known = ", ".join(known_row.name for known_row in OOD_SETS)
        raise UserError(
            f"unknown OOD set: {name}\n  known      : {known}\n  or         : NAME=PATH for a folder of images"
        )
    if row.name == id_data.name:
        raise UserError(f"{row.name} is the ID set itself and cannot be OOD for it")
    if row.kind == "generated":
        return _generated_set(row, id_data, seed)
    root = Path(root or id_set(id_data.name).ood_folder)
    if row.name == "TIN" and openood_count(row.name, id_data.name):
        return load_set(row.name, id_data, root)  # all of its images would hold classes of the ID set
    doubt = ""
    if row.kind == "files":
        content, notes, doubt = _files_of(row, root)
    elif row.kind == "cifar":
        content, _, notes = load_cifar_set(row, root)
    else:
        content, notes = load_arrays(row, root)
    loaded, found = _cut_at_size(row.name, content, notes, id_data.size, seed)
    return named_by_count(loaded, row.name, row.count, found, doubt=doubt)


def _files_of(row: OODSet, root: Path) -> tuple[tuple[Path, ...], Notes, str]:
    """The files of a set, notes, and why it is not the official one although it may have as many images."""
    verified = existing_places(root, row.folders)
    places = verified + existing_places(root, row.unverified_folders)
    for place in places:
        listing = list_images(place)
        if listing.paths:
            draw_notes, own_draw = _draw(row, place) if row.drawn else ((), "")
            doubt = own_draw if place in verified else "origin unverified"
            return listing.paths, (*other_files_note(row.name, listing.others), *draw_notes), doubt
    remark = " (the folder is there, but holds no images)" if places else ""
    raise MissingSet(row, [root / folder for folder in row.folders], remark)


def _draw(row: OODSet, place: Path) -> tuple[Notes, str]:
    """Of a set that is drawn from a larger one: a note on which images these are, and whether they were drawn here."""
    path = list_file_beside(place)
    listed = path.read_text("utf-8-sig", "replace") if path.is_file() else ""
    which = f"listed in {path}" if path.is_file() else "of unknown draw"
    note = f"{row.name}: images {which}; which ones the authors drew is not published"
    return (note,), f"own draw of {row.count:,}" if listed.startswith(DRAWN_HERE) else ""


def _own_folder(name: str, path: str, size: int, seed: int) -> ImageSet:
    if not name or not path:
        raise UserError(f"not of the form NAME=PATH: {name}={shown(path)}")
    # A folder that somebody calls SVHN need not be the benchmark's SVHN.
    name = f"{name} (own folder)" if find_ood_set(name) else name
    listing = list_images(Path(path).expanduser())
    if not listing.paths:
        raise UserError(
            f"{name} holds no images.\n  looked for : {shown(path)}/**/*.jpg, .png, ...\n  do         : check the path"
        )
    return _cut_at_size(name, listing.paths, other_files_note(name, listing.others), size, seed)[0]


def _cut_at_size(
    name: str, content: Tensor | Sequence[Path], notes: Notes, size: int, seed: int
) -> tuple[ImageSet, int]:
    """The set, of which a large one is cut, and how many usable images were found before that."""
    found = len(content)
    if found > MAX_IMAGES:
        order = torch.randperm(found, generator=torch.Generator().manual_seed(seed))
        rows = order[:MAX_IMAGES].sort().values
        content = content[rows] if isinstance(content, Tensor) else [content[row] for row in rows.tolist()]
    loaded = at_size(name, content, size, notes)
    return loaded, found - (len(content) - len(loaded))


def _generated_set(row: OODSet, id_data: IDData, seed: int) -> TensorImages:
    size = id_data.size
    count = min(len(id_data.test), MAX_IMAGES if size <= 64 else MAX_LARGE_GENERATED)
    if row.name == "digits-6-9":
        images = resized(digits.held_out_digits(), size)
    else:
        images = generated.SETS[row.name](count, size, seed)
    return TensorImages(row.name, images, official_complete=True)
