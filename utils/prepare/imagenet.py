"""A choice of ImageNet's classes in a folder of their own, as links or copies: ImageNet-100, or another choice."""

import errno
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from scipy.io import loadmat
from tqdm import tqdm

from utils.data.image_folder import abridged, list_images
from utils.data.imagenet import WNID, rows_of
from utils.data.places import as_user_errors, folders_in, is_file, is_folder, require_folder
from utils.errors import UserError, one_line, shown
from utils.files import atomic_write

PARTS = ("train", "val")
# Below the folder that a user names: as torchvision has it, and as Kaggle's archive unpacks.
_ROOTS = ("", "Data/CLS-LOC", "ILSVRC/Data/CLS-LOC")
# ILSVRC 2012 has 732 to 1,300 training images a class, and 50 validation images.
_USUAL_COUNTS = {"train": (732, 1_300), "val": (50, 50)}

Images = Mapping[str, Path]  # name below the class folder -> file
Class = Path | Images  # its folder, or its files where those of all classes lie in one folder


@as_user_errors()
def find_imagenet(source: Path, val_labels: Path | None) -> dict[str, dict[str, Class]]:
    """Part ("train", "val") -> class -> where its images are, below `source`.

    Args:
        val_labels: a table of file name and class a line, for a val folder that is not sorted into classes.
    Raises:
        UserError: not there, or val not sorted and no table given.
    """
    require_folder(source)
    places = [source / root for root in _ROOTS]
    root = next((place for place in places if all(is_folder(place / part) for part in PARTS)), None)
    if root is None:
        raise UserError(
            f"ImageNet not found.\n  looked for : {shown(source)}/train/<wnid>/ and {shown(source)}/val/<wnid>/\n"
            "  get it by  : registering at https://image-net.org (ILSVRC 2012), and unpacking it there"
        )
    train, val = (
        {place.name: place for place in folders_in(root / part) if WNID.fullmatch(place.name)} for part in PARTS
    )
    if not train:
        raise UserError(
            f"no class folders found.\n  looked for : {shown(root)}/train/<wnid>/, such as n01440764\n"
            "  do         : unpack the archive of each class into a folder of its name"
        )
    return {"train": train, "val": val or _sorted_val(root / "val", val_labels)}


def read_val_labels(path: Path) -> dict[str, str]:
    """Image, without its suffix -> class.

    Args:
        path: a table whose first two columns are the image and, at the beginning of the second, the class, with or
            without a heading (Kaggle's LOC_val_solution.csv); the script valprep.sh, which moves each image into its
            class; or ILSVRC2012_validation_ground_truth.txt of the development kit, beside its meta.mat.
    Raises:
        UserError: it cannot be read, or a line is not of that kind.
    """
    labels = {}
    numbers = []
    for number, words in rows_of(path, "the table of val"):
        if words[0] == "mkdir":
            continue
        words = words[words[0] == "mv" :]
        if len(words) > 1 and WNID.fullmatch(words[1].rstrip("/")):
            labels[Path(words[0]).stem] = words[1].rstrip("/")
        elif len(words) == 1 and words[0].isdecimal() and not labels:
            numbers.append(int(words[0]))
        elif number > 1:
            raise UserError(
                f"not a line of image and class: {shown(' '.join(words)[:80])}\n"
                f"  looked at  : {shown(path)}, line {number}"
            )
    if not numbers:
        return labels
    names = _class_numbers(path.with_name("meta.mat"))
    if labels or not set(numbers) <= set(names):
        raise UserError(f"not one class number of 1 to {len(names):,} a line\n  looked at  : {shown(path)}")
    return {f"ILSVRC2012_val_{row:08}": names[number] for row, number in enumerate(numbers, 1)}


def _class_numbers(path: Path) -> dict[int, str]:
    """ILSVRC2012_ID -> class, of the development kit's table of synsets; those with children are no classes."""
    if not is_file(path):
        raise UserError(
            f"class numbers need the development kit's table of classes.\n  looked for : {shown(path)}\n"
            "  do         : leave both files in data/ of ILSVRC2012_devkit_t12, as they were unpacked"
        )
    try:
        synsets = np.atleast_1d(loadmat(path, squeeze_me=True)["synsets"])
        leaves = synsets[synsets["num_children"] == 0]
        return dict(zip(map(int, leaves["ILSVRC2012_ID"]), map(str, leaves["WNID"]), strict=True))
    except Exception as error:  # scipy says nowhere what it raises for bytes that are no such file
        raise UserError(
            f"not the development kit's meta.mat: {one_line(error)}\n  file       : {shown(path)}"
        ) from error


@as_user_errors()
def choose_images(parts: Mapping[str, Mapping[str, Class]], names: Iterable[str]) -> dict[str, dict[str, Images]]:
    """part -> class -> its files.

    Raises:
        UserError: a class is missing, or has no images.
    """
    names = sorted(names)
    chosen = {}
    for part, classes in parts.items():
        chosen[part] = {name: _images_of(classes[name]) for name in names if name in classes}
        missing = [name for name in names if not chosen[part].get(name)]
        if missing:
            raise UserError(
                f"{len(missing):,} of {len(names):,} classes are missing or without images in {part}: "
                f"{abridged(missing)}\n  looked for : {part}/{missing[0]}/<image>\n"
                "  do         : unpack these classes, too"
            )
    return chosen


def count_notes(chosen: Mapping[str, Mapping[str, Images]]) -> list[str]:
    """What differs from ImageNet's own numbers of images a class."""
    notes = []
    for part, classes in chosen.items():
        low, high = _USUAL_COUNTS[part]
        odd = [f"{name} ({len(images):,})" for name, images in classes.items() if not low <= len(images) <= high]
        if odd:
            usual = f"{low:,} to {high:,}" if low < high else f"{high:,}"
            notes.append(f"{part}: {len(odd):,} classes have not the {usual} images of ImageNet: {abridged(odd)}")
    return notes


@as_user_errors()
def is_made(place: Path, sources: Mapping[str, Class], chosen: Mapping[str, Images]) -> bool:
    """Whether `place` holds the chosen classes already; False where nothing is there.

    Raises:
        UserError: something else stands there.
    """
    if not os.path.lexists(place):
        return False
    require_folder(place)
    there = {child.name for child in folders_in(place)}
    other = sorted(
        name
        for name in there | set(chosen)
        if name not in there or name not in chosen or not _same(place / name, sources[name], chosen[name])
    )
    if other:
        raise UserError(
            f"another choice of classes stands there: {len(other):,} are missing, not wanted or have other images "
            f"({abridged(other)})\n  place      : {shown(place)}\n"
            "  do         : move it away, or name another DEST"
        )
    return True


def write_class_list(path: Path, names: Iterable[str], how: str) -> None:
    """List the classes in a file that `read_class_list` reads, with a first line that says how they were chosen."""
    with _refusals(path), atomic_write(path, "w") as stream:
        stream.write("".join(f"{line}\n" for line in (f"# {how}", *names)))


def make_part(place: Path, sources: Mapping[str, Class], chosen: Mapping[str, Images], *, copy: bool) -> None:
    """Put the classes below `place`, which comes into being when all of them are whole.

    Until then they lie in .incomplete-<name> beside it, from which an interrupted copy goes on.

    Raises:
        UserError: the disk is full, or refuses.
    """
    unfinished = place.with_name(f".incomplete-{place.name}")
    with _refusals(place):
        unfinished.mkdir(parents=True, exist_ok=True)
        for left in unfinished.iterdir():
            if left.is_symlink():
                left.unlink()
            elif not (copy and left.name in chosen):
                shutil.rmtree(left)
        for name, images in tqdm(chosen.items(), desc=place.name, unit=" classes", disable=None):
            if not copy and isinstance(sources[name], Path):
                (unfinished / name).symlink_to(sources[name].resolve(), target_is_directory=True)
                continue
            for below, path in images.items():
                _put(path, unfinished / name / below, copy=copy)
        unfinished.rename(place)


def _images_of(source: Class) -> Images:
    if isinstance(source, Path):
        return {path.relative_to(source).as_posix(): path for path in list_images(source).paths}
    return source


def _sorted_val(folder: Path, val_labels: Path | None) -> dict[str, Class]:
    if val_labels is None:
        raise UserError(
            f"val is not sorted into classes.\n  looked for : {shown(folder)}/<wnid>/<image>\n"
            "  do         : pass --val-labels FILE, a table of image and class: LOC_val_solution.csv of Kaggle's "
            "archive, ILSVRC2012_validation_ground_truth.txt of the development kit, or valprep.sh\n"
            "  or         : let torchvision.datasets.ImageNet(root, split='val') sort it, which needs "
            "ILSVRC2012_devkit_t12.tar.gz beside the archive of val"
        )
    labels = read_val_labels(val_labels)
    files = list_images(folder).paths
    unknown = [path.name for path in files if path.stem not in labels]
    if unknown or not files:
        fault = f"{len(unknown):,} images are not in it: {abridged(unknown)}" if unknown else "val holds no images"
        raise UserError(f"{fault}\n  table      : {shown(val_labels)}\n  looked at  : {shown(folder)}")
    found: dict[str, dict[str, Path]] = {}
    for path in files:
        found.setdefault(labels[path.stem], {})[path.name] = path
    return found


def _same(folder: Path, source: Class, wanted: Images) -> bool:
    """The same folder, or the same names and sizes."""
    if isinstance(source, Path) and folder.resolve() == source.resolve():
        return True
    here = _images_of(folder)
    return here.keys() == wanted.keys() and all(_same_size(path, wanted[name]) for name, path in here.items())


def _same_size(one: Path, other: Path) -> bool:
    return one.is_file() and one.stat().st_size == other.stat().st_size


def _put(path: Path, target: Path, *, copy: bool) -> None:
    """Link or copy one file, unless it was copied whole before."""
    if copy and not target.is_symlink() and _same_size(target, path):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    if copy:
        shutil.copyfile(path, target)
    else:
        target.symlink_to(path.resolve())


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
