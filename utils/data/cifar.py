"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) from the official python batches."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from utils.data.id_records import IDSet, id_set
from utils.data.images import IDImages, TensorImages
from utils.data.places import is_file, shown
from utils.data.plain_pickle import load_plain_pickle
from utils.errors import UserError, one_line
from utils.files import typed

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10

SIZE = 32
_DOWNLOAD_SIZE = {"CIFAR-10": "170 MB", "CIFAR-100": "169 MB"}


def read_cifar(record: IDSet, root: Path, *, download: bool, **_: object) -> IDImages:
    """The ID set in `root`, or in the official folder inside it; `download` fetches it where it is missing.

    Raises:
        UserError: missing or damaged.
    """
    folder = find_cifar(record.name, [root])
    if folder is None:
        if not download:
            raise missing_cifar(record.name, root)
        folder = download_cifar(record.name, root)
    train, test = read_split(record.name, folder, "train"), read_split(record.name, folder, "test")
    class_names, other_files = read_class_names(record.name, folder)
    notes = file_notes(record.name, train, test, other_files=other_files)
    return IDImages(
        TensorImages(f"{record.name} train", train.images, train.labels),
        TensorImages(f"{record.name} test", test.images, test.labels),
        class_names,
        notes,
        official=not notes,
    )


@dataclass(frozen=True)
class CifarSplit:
    """images (N, 3, 32, 32) uint8, labels (N,) int64; which files have another checksum or another number of images."""

    images: torch.Tensor
    labels: torch.Tensor
    other_files: tuple[str, ...]
    other_counts: tuple[str, ...]


def cifar_facts(name: str) -> "type[CIFAR10]":
    """torchvision's class for "CIFAR-10" or "CIFAR-100": its file names, addresses and checksums are the table here."""
    # Imported late: torchvision takes seconds, and the digits do without it.
    from torchvision.datasets import CIFAR10, CIFAR100

    return {"CIFAR-10": CIFAR10, "CIFAR-100": CIFAR100}[name]


def find_cifar(name: str, places: list[Path]) -> Path | None:
    """The first folder among `places`, or the official folder inside one, that holds a file of the data set.

    Raises:
        UserError: a place that may not be looked at.
    """
    facts = cifar_facts(name)
    file_names = [file_name for file_name, _ in [*facts.test_list, *facts.train_list]]
    for place in places:
        for folder in (place / facts.base_folder, place):
            if any(is_file(folder / file_name) for file_name in file_names):
                return folder
    return None


def download_cifar(name: str, root: Path) -> Path:
    """Fetch and unpack the official archive below `root`; returns the folder of the batches."""
    facts = cifar_facts(name)
    try:
        facts(str(root), download=True)
    # torchvision lets pass what urllib, tarfile and its own checks raise.
    except Exception as error:
        raise UserError(
            f"{name} could not be downloaded: {one_line(error)}\n  from       : {facts.url}\n"
            f"  to         : {shown(root)}\n"
            f"  or         : fetch it elsewhere, unpack it there, and pass --id-loc"
        ) from error
    return root / facts.base_folder


def missing_cifar(name: str, root: Path) -> UserError:
    """The error for a data set that is not below `root`."""
    facts = cifar_facts(name)
    return _missing_file(name, root / facts.base_folder / facts.train_list[0][0])


def _missing_file(name: str, path: Path) -> UserError:
    return UserError(
        f"{name} not found.\n  looked for : {shown(path)}\n  {_advice(name)}\n"
        f"  or         : pass --id-loc /path/to/folder"
    )


def read_split(name: str, folder: Path, split: str) -> CifarSplit:
    """Read the "train" or "test" batches in `folder`.

    Files with another checksum than the official ones are read; file_notes says so.

    Raises:
        UserError: a file is missing, damaged, would run code, or holds something else than labelled 32 x 32 images.
    """
    facts = cifar_facts(name)
    files = facts.train_list if split == "train" else facts.test_list
    record = id_set(name)
    images, labels, other, counts = [], [], [], []
    for file_name, md5 in files:
        batch, is_official = _read_pickle(name, folder, file_name, md5)
        batch_images, batch_labels = _checked_batch(batch, folder / file_name, record.classes, _advice(name))
        images.append(batch_images)
        labels.append(batch_labels)
        if not is_official:
            other.append(file_name)
        expected = (record.train_images if split == "train" else record.test_images) // len(files)
        if len(batch_labels) != expected:
            counts.append(f"{file_name} {len(batch_labels):,} (official {expected:,})")
    return CifarSplit(
        torch.from_numpy(np.concatenate(images)), torch.from_numpy(np.concatenate(labels)), tuple(other), tuple(counts)
    )


def file_notes(name: str, *splits: CifarSplit, other_files: tuple[str, ...] = ()) -> tuple[str, ...]:
    """A line for all files that are not the official ones (`other_files` too), and one for other numbers of images."""
    other = [*(file_name for split in splits for file_name in split.other_files), *other_files]
    counts = [count for split in splits for count in split.other_counts]
    notes = []
    if other:
        notes.append(f"{name}: checksums differ from the official files: {', '.join(other)}")
    if counts:
        notes.append(f"{name}: not the official numbers of images: {', '.join(counts)}")
    return tuple(notes)


def read_class_names(name: str, folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Class names in the order of the labels, and the file they are from if its checksum is not the official one.

    Raises:
        UserError: the file is missing, damaged, or would run code.
    """
    facts = cifar_facts(name)
    meta, is_official = _read_pickle(name, folder, facts.meta["filename"], facts.meta["md5"])
    names = meta.get(facts.meta["key"])
    classes = id_set(name).classes
    if not isinstance(names, list) or len(names) != classes or not all(isinstance(n, str | bytes) for n in names):
        raise UserError(
            f"damaged file: no list of {classes} class names under {facts.meta['key']!r}\n"
            f"  file       : {shown(folder / facts.meta['filename'])}\n  {_advice(name)}"
        )
    names = tuple(n.decode("latin1") if isinstance(n, bytes) else n for n in names)
    return names, () if is_official else (facts.meta["filename"],)


def _advice(name: str) -> str:
    return f"get it by  : {typed('scripts/prepare_data.py')} --only {name}        ({_DOWNLOAD_SIZE[name]})"


def _read_pickle(name: str, folder: Path, file_name: str, md5: str) -> tuple[dict, bool]:
    path = folder / file_name
    if not is_file(path):
        raise _missing_file(name, path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read a file of {name}: {error.strerror}\n  file       : {shown(path)}") from error
    is_official = hashlib.md5(content, usedforsecurity=False).hexdigest() == md5
    return load_plain_pickle(path, content, _advice(name)), is_official


def _checked_batch(batch: dict, path: Path, classes: int, advice: str) -> tuple[np.ndarray, np.ndarray]:
    pixels = batch.get("data")
    labels = batch.get("labels" if classes == 10 else "fine_labels")
    fault = _pixel_fault(pixels) or _label_fault(labels, len(pixels), classes)
    if fault:
        raise UserError(f"damaged file: {fault}\n  file       : {shown(path)}\n  {advice}")
    return pixels.reshape(-1, 3, SIZE, SIZE), np.asarray(labels).astype(np.int64)


def _pixel_fault(pixels: object) -> str | None:
    if not isinstance(pixels, np.ndarray):
        return "no array of pixels under 'data'"
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != 3 * SIZE * SIZE or len(pixels) == 0:
        return f"pixels are {pixels.dtype} of shape {pixels.shape}, not uint8 of shape (N, {3 * SIZE * SIZE})"
    return None


def _label_fault(labels: object, count: int, classes: int) -> str | None:
    if not isinstance(labels, list | np.ndarray):
        return "no list of labels"
    if isinstance(labels, list) and not all(type(label) is int for label in labels):
        return "labels that are not whole numbers"
    if isinstance(labels, np.ndarray) and labels.ndim != 1:
        return f"labels of shape {labels.shape}"
    if len(labels) != count:
        return f"{len(labels):,} labels for {count:,} images"
    if min(labels) < 0 or max(labels) >= classes:
        return f"labels from {min(labels)} to {max(labels)}, not within 0..{classes - 1}"
    return None
