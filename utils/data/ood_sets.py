"""OOD test sets by name: the sets of the table in ood_table.py, and any folder of your own as NAME=PATH."""

from collections.abc import Sequence
from pathlib import Path

import torch

from utils.data import cifar, digits, generated, mnist
from utils.data.id_records import id_set
from utils.data.id_sets import IDData
from utils.data.image_folder import Listing, list_images, load_files, other_files_note
from utils.data.images import ImageSet, TensorImages
from utils.data.ood_files import (
    MissingSet,
    existing_places,
    find_cifar_set,
    first_loaded,
    is_own_draw,
    list_file_beside,
)
from utils.data.ood_table import OOD_SETS, OODSet, find_ood_set
from utils.data.openood import load_set, openood_count
from utils.data.places import shown
from utils.data.resize import resized
from utils.data.svhn import FULL_FILE, SELECTED_FILE, load_selected_svhn
from utils.errors import UserError

# A set that is larger is cut to a fixed subset of this many images.
MAX_IMAGES = 10_000
# Generated sets are as large as the ID test set, up to MAX_IMAGES, and up to this where an image is large.
MAX_LARGE_GENERATED = 1_000


def absent_sets(names: Sequence[str], id_name: str, root: Path | None) -> list[str]:
    """Those of some sets of the table that are not on disk; `root` holds them, None for the ID set's default place."""
    root = root or id_set(id_name).ood_folder

    def is_absent(row: OODSet) -> bool:
        if row.kind != "cifar":
            return bool(row.folders) and not existing_places(root, row.folders)
        try:
            return not find_cifar_set(row, root)
        except MissingSet:
            return True

    return [name for name in names if is_absent(find_ood_set(name))]


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
    root = id_set(id_data.name).ood_folder if root is None else Path(root)
    if row.name == "TIN" and openood_count(row.name, id_data.name):
        return load_set(row.name, id_data, root)  # all of its images would hold classes of the ID set
    load = {"svhn": _svhn_set, "cifar": _cifar_set, "mnist": _mnist_set, "files": _file_set}[row.kind]
    return load(row, root, id_data.size, seed)


def _svhn_set(row: OODSet, root: Path, size: int, seed: int) -> TensorImages:
    images, notes = first_loaded(row, root, load_selected_svhn, (FULL_FILE, SELECTED_FILE))
    return _in_memory(row, images, size, seed, notes)


def _cifar_set(row: OODSet, root: Path, size: int, seed: int) -> TensorImages:
    split = cifar.read_split(row.name, find_cifar_set(row, root), "test")
    return _in_memory(row, split.images, size, seed, cifar.file_notes(row.name, split))


def _mnist_set(row: OODSet, root: Path, size: int, seed: int) -> TensorImages:
    return _in_memory(row, first_loaded(row, root, mnist.load_mnist, mnist.FILES), size, seed, ())


def _in_memory(row: OODSet, images: torch.Tensor, size: int, seed: int, notes: tuple[str, ...]) -> TensorImages:
    found = len(images)
    if found > MAX_IMAGES:
        images = images[_drawn(found, seed)]
    loaded = TensorImages(row.name, resized(images, size), notes=notes)
    return _named(loaded, row, found)


def _file_set(row: OODSet, root: Path, size: int, seed: int) -> ImageSet:
    verified = existing_places(root, row.folders)
    places = verified + existing_places(root, row.unverified_folders)
    for place in places:
        listing = list_images(place)
        if listing.paths:
            loaded, found = _load_listing(row.name, listing, size, seed)
            loaded.notes = (*loaded.notes, *_draw_note(row, place))
            return _named(loaded, row, found, verified=place in verified, own_draw=row.drawn and is_own_draw(place))
    remark = " (the folder is there, but holds no images)" if places else ""
    raise MissingSet(row, [root / folder for folder in row.folders], remark)


def _draw_note(row: OODSet, place: Path) -> tuple[str, ...]:
    if not row.drawn:
        return ()
    listed = list_file_beside(place)
    which = f"listed in {listed}" if listed.is_file() else "of unknown draw"
    return (f"{row.name}: images {which}; which ones the authors drew is not published",)


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
    return _load_listing(name, listing, size, seed)[0]


def _load_listing(name: str, listing: Listing, size: int, seed: int) -> tuple[ImageSet, int]:
    """The set and how many usable images were found, before a large set is cut."""
    paths = listing.paths
    if len(paths) > MAX_IMAGES:
        paths = [paths[row] for row in _drawn(len(paths), seed)]
    loaded = load_files(name, paths, size, notes=other_files_note(name, listing.others))
    return loaded, len(listing.paths) - (len(paths) - len(loaded))


def _drawn(count: int, seed: int) -> list[int]:
    """Rows of the fixed subset of a large set, ascending."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return order[:MAX_IMAGES].sort().values.tolist()


def _named(images: ImageSet, row: OODSet, found: int, *, verified: bool = True, own_draw: bool = False) -> ImageSet:
    """Say by the name and by official_complete how the images found compare with the official set."""
    if found < row.count:
        images.name = f"{row.name} (partial, {found:,} of {row.count:,})"
    elif found == row.count and len(images) < found:
        images.name = f"{row.name} (drawn, {len(images):,} of {found:,})"
    elif found > row.count:
        images.name = f"{row.name} (another selection, {len(images):,} of {found:,})"
    elif own_draw:
        images.name = f"{row.name} (own draw of {found:,})"
    elif not verified:
        images.name = f"{row.name} (origin unverified)"
    else:
        images.official_complete = True
    return images


def _generated_set(row: OODSet, id_data: IDData, seed: int) -> TensorImages:
    size = id_data.size
    count = min(len(id_data.test), MAX_IMAGES if size <= 64 else MAX_LARGE_GENERATED)
    if row.name == "digits-6-9":
        images = resized(digits.held_out_digits(), size)
    elif row.name == "photographs":
        images = generated.photograph_patches(count, size, seed)
    elif row.name == "uniform-noise":
        images = generated.uniform_noise(count, size, seed)
    else:
        images = generated.gaussian_noise(count, size, seed)
    return TensorImages(row.name, images, official_complete=True)
