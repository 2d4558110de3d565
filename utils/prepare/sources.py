"""Where each data set comes from and where it goes: what the table of OOD sets says, completed from the libraries that
maintain addresses and checksums (torchvision, pytorch-ood), and the things that only a person can fetch.
"""

import importlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from utils.data import cifar, mnist
from utils.data.id_records import ID_SETS, id_set
from utils.data.ood_table import OODSet

ARRAYS = ("svhn", "mnist")  # kinds of sets whose files stay as they are


@dataclass(frozen=True)
class Source:
    """Address of the file that holds a set, the name it gets here, and its MD5 where one is published.

    parts: the files of a set that comes as several, of which `address` is the folder.
    """

    address: str
    file_name: str
    md5: str | None = None
    parts: tuple["Source", ...] = ()


@dataclass(frozen=True)
class ByHand:
    """Something that no script can fetch: where a person gets it, and where it goes below the repository."""

    name: str
    place: str
    how: str


_DRIVE = "https://drive.google.com/drive/folders/"
BY_HAND = (
    ByHand(
        "ImageNet-100",
        "datasets/ImageNet100/train/<wnid>/ and val/<wnid>/",
        "ImageNet (ILSVRC 2012) after registration at https://image-net.org; then `python scripts/make_imagenet100.py "
        "SRC` makes the folder, with the 100 classes of deeplearning-wisc/MCM, data/ImageNet100/class_list.txt",
    ),
    ByHand(
        "checkpoint-CIFAR-10",
        "checkpoints/CIFAR-10/<name>/checkpoint_500.pth.tar",
        _DRIVE + "1rkXQYHcaITZCj55OLNXqy_b-yjktONrn",
    ),
    ByHand(
        "checkpoint-CIFAR-100",
        "checkpoints/CIFAR-100/<name>/checkpoint_500.pth.tar",
        _DRIVE + "1SjW2kvhDQ6qcsIo5TR7eLMrcL3r6Y3QN",
    ),
    ByHand(
        "checkpoint-ImageNet-100",
        "checkpoints/ImageNet-100/<name>/checkpoint_<epoch>.pth.tar",
        _DRIVE + "1IJXpHLllI9pj39xn25LSNRaVHZ9fFz6-",
    ),
)


def source_of(row: OODSet) -> Source:
    """Address and checksum of a row that is not generated."""
    if row.maintained:
        # Imported late: the libraries take a second each, and most of what reads the table does without them.
        module, _, name = row.maintained.rpartition(".")
        facts = getattr(importlib.import_module(module), name)
        if row.kind == "svhn":
            address, file_name, md5 = facts.split_list["test"]
            return Source(address, file_name, md5)
        if row.kind == "mnist":
            address = facts.mirrors[0]
            parts = tuple(Source(address + name, name, md5) for name, md5 in facts.resources if name in mnist.FILES)
            return Source(address, "", ", ".join(part.md5 for part in parts), parts)
        return Source(facts.url, _file_name(row.source), facts.tgz_md5)
    # A Dropbox link leads to a page about the file; this leads to the file.
    query = "?dl=1" if "dropbox.com" in row.source else ""
    return Source(row.source + query, _file_name(row.source), row.md5)


def places_of(row: OODSet, data_root: Path) -> list[Path]:
    """Where the set lies in the official layout: first the place it is unpacked to, then those that link there."""
    if row.kind == "cifar":
        return [data_root / id_set(row.name).folder.name / cifar.cifar_facts(row.name).base_folder]
    return [root / row.folders[0] for root in ood_roots(row, data_root)]


def ood_roots(row: OODSet, data_root: Path) -> list[Path]:
    """The folders of OOD sets that this set belongs to: one for the CIFARs, one for ImageNet-100, or both."""
    folders = [record.ood_folder for record in ID_SETS.values() if row.name in record.ood]
    return [data_root / folder.name for folder in dict.fromkeys(folders or [id_set("CIFAR-10").ood_folder])]


def archive_of(row: OODSet, source: Source, data_root: Path) -> Path:
    """Where the downloaded file stands, and where a person puts one that was fetched elsewhere."""
    folder = places_of(row, data_root)[0] if row.kind in ARRAYS else data_root / "downloads"
    return folder / source.file_name


def _file_name(address: str) -> str:
    return urlsplit(address).path.rpartition("/")[2]
