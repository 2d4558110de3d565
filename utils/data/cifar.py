"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) from the official python batches."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from utils.data.id_records import IDSet, id_set
from utils.data.images import Read, TensorImages
from utils.data.ood_table import find_ood_set
from utils.data.places import damaged, is_file
from utils.data.plain_pickle import PickleError, load_plain_pickle
from utils.errors import UserError, one_line, shown
from utils.files import typed

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10

PIXELS = (3, 32, 32)


def read_cifar(record: IDSet, root: Path, *, download: bool, **_: object) -> Read:
    """The ID set in `root`, or in the official folder inside it; `download` fetches it where it is missing.

    Raises:
        UserError: missing or damaged.
    """
    folder = find_cifar(record.name, [root])
    if folder is None:
        if not download:
            facts = cifar_facts(record.name)
            raise _missing(record.name, root / facts.base_folder / facts.train_list[0][0])
        folder = _download(record.name, root)
    files = CifarFiles(record.name, folder)
    train, test = (TensorImages(f"{record.name} {part}", *files.images(part)) for part in ("train", "test"))
    class_names = files.class_names()
    return train, test, class_names, files.notes()


def cifar_facts(name: str) -> "type[CIFAR10]":
    """torchvision's class for "CIFAR-10" or "CIFAR-100": its file names, addresses and checksums are the table here."""
    # Imported late: torchvision takes seconds, and the digits do without it.
    from torchvision.datasets import CIFAR10, CIFAR100

    return {"CIFAR-10": CIFAR10, "CIFAR-100": CIFAR100}[name]


def find_cifar(name: str, places: list[Path]) -> Path | None:
    """The first folder among `places`, or the official folder inside one, that holds a file of the data set.

    Raises:
        OSError: a place that may not be looked at.
    """
    facts = cifar_facts(name)
    file_names = [file_name for file_name, _ in [*facts.test_list, *facts.train_list]]
    folders = [folder for place in places for folder in (place / facts.base_folder, place)]
    return next((folder for folder in folders if any(is_file(folder / each) for each in file_names)), None)


class CifarFiles:
    """The files of a CIFAR in a folder. Those with other checksums than the official ones are read; `notes` names them.

    Every method raises a UserError where a file is missing, damaged, or would run code, and where it holds something
    else than labelled 32 x 32 images.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.facts, self.record = cifar_facts(name), id_set(name)
        self.other_files: list[str] = []
        self.other_counts: list[str] = []

    def images(self, part: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Of "train" or "test": (N, 3, 32, 32) uint8 and (N,) int64."""
        files, published = self.facts.train_list, self.record.train_images
        if part == "test":
            files, published = self.facts.test_list, self.record.test_images
        images, labels = [], []
        for file_name, md5 in files:
            batch = self._read(file_name, md5)
            images.append(batch.get("data"))
            labels.append(_plain_list(batch.get("labels" if self.record.classes == 10 else "fine_labels")))
            fault = _fault(images[-1], labels[-1], self.record.classes)
            if fault:
                raise damaged(fault, self.folder / file_name, self.name)
            expected = published // len(files)
            if len(labels[-1]) != expected:
                self.other_counts.append(f"{file_name} {len(labels[-1]):,} (official {expected:,})")
        pixels = torch.from_numpy(np.concatenate(images)).reshape(-1, *PIXELS)
        return pixels, torch.tensor([label for each in labels for label in each])

    def class_names(self) -> tuple[str, ...]:
        """In the order of the labels."""
        file_name, key = self.facts.meta["filename"], self.facts.meta["key"]
        names = self._read(file_name, self.facts.meta["md5"]).get(key)
        known = isinstance(names, list) and all(isinstance(name, str | bytes) for name in names)
        if not known or len(names) != self.record.classes:
            fault = f"no list of {self.record.classes} class names under {key!r}"
            raise damaged(fault, self.folder / file_name, self.name)
        return tuple(name.decode("latin1") if isinstance(name, bytes) else name for name in names)

    def notes(self) -> tuple[str, ...]:
        """A line for all files read that are not the official ones, and one for other numbers of images."""
        kinds = {
            "checksums differ from the official files": self.other_files,
            "not the official numbers of images": self.other_counts,
        }
        return tuple(f"{self.name}: {what}: {', '.join(which)}" for what, which in kinds.items() if which)

    def _read(self, file_name: str, md5: str) -> dict:
        path = self.folder / file_name
        if not is_file(path):
            raise _missing(self.name, path)
        content = path.read_bytes()
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
            self.other_files.append(file_name)
        try:
            return load_plain_pickle(content)
        except PickleError as error:
            raise damaged(str(error), path, self.name) from error


def _download(name: str, root: Path) -> Path:
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


def _missing(name: str, path: Path) -> UserError:
    by = f"{typed('scripts/prepare_data.py')} --only {name}        ({find_ood_set(name).megabytes} MB)"
    return UserError(
        f"{name} not found.\n  looked for : {shown(path)}\n  get it by  : {by}\n"
        f"  or         : pass --id-loc /path/to/folder"
    )


def _plain_list(labels: object) -> object:
    return labels.tolist() if isinstance(labels, np.ndarray) else labels


def _fault(pixels: object, labels: object, classes: int) -> str | None:
    values = np.prod(PIXELS)
    if not isinstance(pixels, np.ndarray):
        return "no array of pixels under 'data'"
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != values or len(pixels) == 0:
        return f"pixels are {pixels.dtype} of shape {pixels.shape}, not uint8 of shape (N, {values})"
    if not isinstance(labels, list):
        return "no list of labels"
    if not all(type(label) is int for label in labels):
        return "labels that are not whole numbers"
    if len(labels) != len(pixels):
        return f"{len(labels):,} labels for {len(pixels):,} images"
    if min(labels) < 0 or max(labels) >= classes:
        return f"labels from {min(labels)} to {max(labels)}, not within 0..{classes - 1}"
    return None
