"""Images in folders: listing them, leaving out what cannot be read (and saying so), and loading them."""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from utils.data.decode import UnreadableImage, check_readable, open_rgb, resize_center_crop
from utils.data.images import FileImages, ImageSet, TensorImages, decoding_threads
from utils.data.places import as_user_errors, folders_in, require_folder
from utils.errors import UserError, shown

IMAGE_SUFFIXES = frozenset(
    ".avif .bmp .gif .jfif .jp2 .jpe .jpeg .jpg .pbm .pgm .png .pnm .ppm .tga .tif .tiff .webp".split()
)
# Up to this size and total, images are decoded once and kept; training crops of larger ones come from the files.
MAX_SIZE_IN_MEMORY = 64
MAX_BYTES_IN_MEMORY = 2 * 1024**3
_NAMED_IN_NOTES = 10


class Listing(NamedTuple):
    """Image files below a folder, in a fixed order, and the files that are no images by their names."""

    paths: tuple[Path, ...]
    others: tuple[Path, ...]


@as_user_errors()
def list_images(folder: Path) -> Listing:
    """Every file below `folder`, links followed, hidden files left out, sorted by path.

    Raises:
        UserError: `folder` is missing, is a file, or cannot be listed.
    """
    require_folder(folder)
    paths, others, seen = [], [], set()
    for place, folders, files in os.walk(folder, onerror=_cannot_list, followlinks=True):
        real = os.path.realpath(place)
        # A link to a folder above would lead round for ever.
        folders[:] = [] if real in seen else sorted(name for name in folders if not name.startswith("."))
        for name in [] if real in seen else files:
            if not name.startswith("."):
                (paths if Path(name).suffix.lower() in IMAGE_SUFFIXES else others).append(Path(place, name))
        seen.add(real)
    return Listing(tuple(sorted(paths)), tuple(sorted(others)))


def list_classes(folder: Path) -> dict[str, Listing]:
    """Class name -> its images, for a folder with one folder for each class, sorted by name.

    Raises:
        UserError: no class folders, or one without images.
    """
    require_folder(folder)
    classes = {shown(place.name): list_images(place) for place in folders_in(folder)}
    if not classes:
        raise UserError(
            f"no class folders found.\n  looked for : {shown(folder)}/<class>/<image>\n"
            f"  do         : put the images of each class into a folder of its own"
        )
    for name, listing in classes.items():
        if not listing.paths:
            raise UserError(
                f"class {name!r} has no images.\n  looked for : {shown(folder)}/{name}/<image>\n"
                f"  do         : add images, or remove the folder"
            )
    return classes


def load_files(
    name: str, paths: Sequence[Path], size: int, labels: torch.Tensor | None = None, *, notes: Sequence[str] = ()
) -> ImageSet:
    """Images of `paths` after the test transform: in memory where they are small, else decoded as they come.

    Files that cannot be read are left out, with their labels, and a note counts and names them.

    Raises:
        UserError: none can be read.
    """
    in_memory = size <= MAX_SIZE_IN_MEMORY and len(paths) * 3 * size * size <= MAX_BYTES_IN_MEMORY
    images, faults = _decode_all(paths, size) if in_memory else (None, _in_threads(check_readable, paths))
    usable = np.array([fault is None for fault in faults], dtype=bool)
    if not usable.any():
        first = f"\n  for example: {shown(paths[0])}: {faults[0]}" if paths else ""
        raise UserError(f"{name}: none of {len(paths):,} images can be read.{first}")
    if not usable.all():
        skipped = _named_faults(paths, faults)
        notes = (*notes, f"{name}: {len(skipped):,} of {len(paths):,} images skipped: {abridged(skipped)}")
        labels = None if labels is None else labels[torch.from_numpy(usable)]
    if in_memory:
        kept = images if usable.all() else images[usable]
        return TensorImages(name, torch.from_numpy(kept), labels, notes=notes)
    return FileImages(name, [path for path, good in zip(paths, usable, strict=True) if good], size, labels, notes=notes)


def unreadable(paths: Sequence[Path]) -> list[str]:
    """Those files that cannot be used as images, each with the reason. All of them are read."""
    return _named_faults(paths, _in_threads(check_readable, tqdm(paths, desc="decoding", unit=" images", disable=None)))


def other_files_note(name: str, others: Sequence[Path]) -> tuple[str, ...]:
    """A note about files that are no images by their names; none when there are none."""
    if not others:
        return ()
    return (f"{name}: {len(others):,} files are not images by their names: {abridged([p.name for p in others])}",)


def abridged(names: Sequence[str]) -> str:
    """The first few names and the number of the rest."""
    text = ", ".join(shown(name) for name in names[:_NAMED_IN_NOTES])
    rest = len(names) - _NAMED_IN_NOTES
    return f"{text} and {rest:,} more" if rest > 0 else text


def _named_faults(paths: Sequence[Path], faults: Sequence[str | None]) -> list[str]:
    return [f"{shown(path)} ({fault})" for path, fault in zip(paths, faults, strict=True) if fault]


def _decode_all(paths: Sequence[Path], size: int) -> tuple[np.ndarray, list[str | None]]:
    images = np.zeros((len(paths), 3, size, size), dtype=np.uint8)

    def decode(row: int) -> str | None:
        try:
            images[row] = resize_center_crop(open_rgb(paths[row]), size)
        except UnreadableImage as error:
            return str(error)
        return None

    return images, _in_threads(decode, range(len(paths)))


def _in_threads(function: Callable, items: Iterable) -> list[str | None]:
    with ThreadPoolExecutor(decoding_threads()) as pool:
        return list(pool.map(function, items))


def _cannot_list(error: OSError) -> None:
    raise error
