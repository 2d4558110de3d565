"""A choice of ImageNet's classes in a folder of their own, as links or copies: ImageNet-100, or another choice."""

import errno
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from utils.data.image_folder import abridged
from utils.data.places import children, is_folder, require_folder, shown
from utils.errors import UserError
from utils.files import atomic_write
from utils.prepare.download import megabytes
from utils.prepare.imagenet_source import ImageNetPart, Images, images_below

# ILSVRC 2012 has 732 to 1,300 training images a class, and 50 validation images.
USUAL_COUNTS = {"train": (732, 1_300), "val": (50, 50)}


def choose_images(parts: Mapping[str, ImageNetPart], names: Iterable[str]) -> dict[str, dict[str, Images]]:
    """part -> class -> its files.

    Raises:
        UserError: a class is missing, or has no images.
    """
    names = sorted(names)
    chosen: dict[str, dict[str, Images]] = {}
    for part, place in parts.items():
        there = place.class_names()
        chosen[part] = {name: place.images(name) for name in names if name in there}
        missing = [name for name in names if not chosen[part].get(name)]
        if missing:
            raise UserError(
                f"{len(missing):,} of {len(names):,} classes are missing or without images in {part}: "
                f"{abridged(missing)}\n  looked for : {shown(place.folder)}/{missing[0]}/<image>\n"
                "  do         : unpack these classes, too"
            )
    return chosen


def count_notes(chosen: Mapping[str, Mapping[str, Images]]) -> list[str]:
    """What differs from ImageNet's own numbers of images a class."""
    notes = []
    for part, classes in chosen.items():
        low, high = USUAL_COUNTS[part]
        odd = [f"{name} ({len(images):,})" for name, images in classes.items() if not low <= len(images) <= high]
        if odd:
            usual = f"{low:,} to {high:,}" if low < high else f"{high:,}"
            notes.append(f"{part}: {len(odd):,} classes have not the {usual} images of ImageNet: {abridged(odd)}")
    return notes


def is_made(place: Path, part: ImageNetPart, chosen: Mapping[str, Images]) -> bool:
    """Whether `place` holds the chosen classes already; False where nothing is there.

    Raises:
        UserError: something else stands there.
    """
    if not os.path.lexists(place):
        return False
    require_folder(place)
    there = {child.name for child in children(place) if not child.name.startswith(".") and is_folder(child)}
    faults = {
        "missing": sorted(set(chosen) - there),
        "not wanted": sorted(there - set(chosen)),
        "with other images": [name for name in sorted(there & set(chosen)) if not _same(place / name, part, chosen)],
    }
    if any(faults.values()):
        found = "; ".join(
            f"{len(names):,} classes {what} ({abridged(names)})" for what, names in faults.items() if names
        )
        raise UserError(
            f"another choice of classes stands there: {found}\n  place      : {shown(place)}\n"
            "  do         : move it away, or name another DEST"
        )
    return True


def _same(folder: Path, part: ImageNetPart, chosen: Mapping[str, Images]) -> bool:
    """The same folder, or the same names and sizes."""
    if part.sorted_by is None and folder.resolve() == (part.folder / folder.name).resolve():
        return True
    here, wanted = images_below(folder), chosen[folder.name]
    try:
        return here.keys() == wanted.keys() and all(
            path.stat().st_size == wanted[name].stat().st_size for name, path in here.items()
        )
    except OSError:  # a link that leads nowhere
        return False


def write_class_list(path: Path, names: Iterable[str], how: str) -> None:
    """List the classes in a file that `read_class_list` reads, with a first line that says how they were chosen."""
    with _refusals(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, "w") as stream:
            stream.write("".join(f"{line}\n" for line in (f"# {how}", *names)))


def make_part(place: Path, part: ImageNetPart, chosen: Mapping[str, Images], *, copy: bool) -> None:
    """Put the classes below `place`, which comes into being when all of them are whole.

    Until then they lie in .incomplete-<name> beside it, from which an interrupted call goes on.

    Raises:
        UserError: the disk is full, or refuses.
    """
    unfinished = place.with_name(f".incomplete-{place.name}")
    with _refusals(place):
        unfinished.mkdir(parents=True, exist_ok=True)
        for child in children(unfinished):
            whole = copy and not child.is_symlink() and child.name in chosen and _same(child, part, chosen)
            if not whole:
                _remove(child)
        if copy:
            _require_space(unfinished, chosen)
        for name, images in tqdm(chosen.items(), desc=place.name, unit=" classes", disable=None):
            if not (unfinished / name).exists():
                _make_class(unfinished, name, part, images, copy=copy)
        unfinished.rename(place)


@contextmanager
def _refusals(place: Path) -> Iterator[None]:
    """Turn what the system refuses into a UserError."""
    try:
        yield
    except OSError as error:
        where = shown(error.filename2 or error.filename or place)
        if error.errno in (errno.EPERM, errno.ENOTSUP) and error.filename2:
            raise UserError(f"links cannot be made here\n  place      : {where}\n  do         : pass --copy") from error
        raise UserError(
            f"cannot be made: {error.strerror}\n  place      : {where}\n"
            "  do         : mend it and run the same command again: it goes on from here"
        ) from error


def _make_class(folder: Path, name: str, part: ImageNetPart, images: Images, *, copy: bool) -> None:
    if not copy and part.sorted_by is None:
        (folder / name).symlink_to((part.folder / name).resolve(), target_is_directory=True)
        return
    # Under a hidden name until its last file is there.
    hidden = folder / f".{name}"
    for below, path in images.items():
        target = hidden / below
        target.parent.mkdir(parents=True, exist_ok=True)
        if copy:
            shutil.copyfile(path, target)
        else:
            target.symlink_to(path.resolve())
    hidden.rename(folder / name)


def _require_space(folder: Path, chosen: Mapping[str, Images]) -> None:
    left = [images for name, images in chosen.items() if not (folder / name).exists()]
    needed = sum(path.stat().st_size for images in left for path in images.values())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"the copy needs {megabytes(needed)}, {megabytes(free)} are free\n  place      : {shown(folder)}\n"
            "  do         : leave out --copy, which links in place of copying, or name another DEST"
        )


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink()
    else:
        shutil.rmtree(path)
