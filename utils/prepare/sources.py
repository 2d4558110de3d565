"""Where each data set comes from and where it goes, and the things that only a person can fetch."""

from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from utils.data import cifar
from utils.data.id_records import ID_SETS, id_set
from utils.data.ood_table import OODSet

ARRAYS = ("svhn", "mnist")  # kinds of sets whose files stay as they are


class Download(NamedTuple):
    """A file to fetch: its address, where it goes, or is put by hand, and its MD5 where one is published."""

    address: str
    file: Path
    md5: str | None


class ByHand(NamedTuple):
    """Something that no script can fetch: where it goes below the repository, and where a person gets it."""

    name: str
    place: str
    how: str


BY_HAND = (
    ByHand(
        "ImageNet-100",
        "datasets/ImageNet100/train/<wnid>/ and val/<wnid>/",
        "ImageNet (ILSVRC 2012) after registration at https://image-net.org; then `python scripts/make_imagenet100.py "
        "SRC` makes the folder, with the 100 classes of deeplearning-wisc/MCM, data/ImageNet100/class_list.txt",
    ),
    *(
        ByHand(f"checkpoint-{record.name}", f"checkpoints/{record.name}/{run.name}/{run.file}", run.address)
        for record in ID_SETS.values()
        if (run := record.official_run)
    ),
)


def downloads_of(row: OODSet, data_root: Path) -> list[Download]:
    """The files of a set: arrays go to their place, archives to downloads/."""
    folder = places_of(row, data_root)[0] if row.kind in ARRAYS else data_root / "downloads"
    if row.parts:
        return [Download(row.source + name, folder / name, md5) for name, md5 in row.parts]
    return [Download(row.source, folder / Path(urlsplit(row.source).path).name, row.md5)]


def places_of(row: OODSet, data_root: Path) -> list[Path]:
    """Where the set lies in the official layout: first the place it is unpacked to, then those that link there."""
    if row.kind == "cifar":
        return [data_root / id_set(row.name).folder.name / cifar.cifar_facts(row.name).base_folder]
    return [root / row.folders[0] for root in ood_roots(row, data_root)]


def ood_roots(row: OODSet, data_root: Path) -> list[Path]:
    """The folders of OOD sets that this set belongs to: one for the CIFARs, one for ImageNet-100, or both."""
    folders = [record.ood_folder for record in ID_SETS.values() if row.name in record.ood]
    return [data_root / folder.name for folder in dict.fromkeys(folders or [id_set("CIFAR-10").ood_folder])]
