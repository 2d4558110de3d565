"""What of the data sets is on disk: found or missing, how many images, and whether the bytes are the right ones."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from utils.data import cifar
from utils.data.id_records import id_set
from utils.data.image_folder import list_images, unreadable
from utils.data.imagenet import read_imagenet_100
from utils.data.mnist import load_mnist
from utils.data.ood_files import existing_places
from utils.data.ood_table import OODSet
from utils.data.places import as_user_errors
from utils.data.svhn import load_svhn
from utils.errors import UserError, one_line
from utils.files import atomic_write, file_sha256, read_json
from utils.prepare.download import file_md5
from utils.prepare.sources import ARRAYS, downloads_of, ood_roots, places_of

RECORDS = "prepared.json"
_OF_A_RECORD = ("sha256", "address", "file_sha256")  # of all images, and of the file they came from


class Found(NamedTuple):
    """A set on disk. state: "missing", "found" (whole, by count) or "other"; `what` says in words what is there."""

    state: str
    place: Path
    what: str


@as_user_errors()
def look(row: OODSet, data_root: Path) -> Found:
    """Count what is there: names of image files, which are not read, or images in files of arrays."""
    if row.kind == "cifar":
        return _look_for_cifar(row, data_root)
    return _look_for_arrays(row, data_root) if row.kind in ARRAYS else _look_for_files(row, data_root)


def check(row: OODSet, data_root: Path, *, decode: bool = False) -> tuple[Found, list[str]]:
    """Read everything that is there: what `look` says, and every fault found. No faults where nothing is found.

    Args:
        decode: also decode every image file.
    """
    found = look(row, data_root)
    if found.state == "missing":
        return found, []
    if row.kind == "cifar":
        return found, cifar_faults(row, found.place)
    faults = [found.what] if found.state == "other" else []
    if row.kind in ARRAYS:
        return found, faults + _other_files(row, found.place, data_root)
    if decode:
        faults += decoding_faults(list_images(found.place).paths)
    record = read_records(data_root).get(row.name)
    if record is not None and images_digest(found.place) != record["sha256"]:
        faults.append("files are not those that were unpacked: they were changed, renamed, added or removed")
    return found, faults


def check_imagenet_100(folder: Path, *, decode: bool) -> tuple[Found, list[str]]:
    """As `check`, for ImageNet-100 in `folder`, of which no checksum is published."""
    if not (folder / "train").is_dir():
        return Found("missing", folder, ""), []
    try:
        train, test, _, notes = read_imagenet_100(id_set("ImageNet-100"), folder, size=1)
    except UserError as error:
        return Found("other", folder, "train/ and val/ do not fit"), [str(error).splitlines()[0]]
    found = Found("found", folder, f"{len(train):,} training and {len(test):,} test images")
    return found, [*notes, *(decoding_faults([*train.paths, *test.paths]) if decode else [])]


def decoding_faults(paths: Sequence[Path]) -> list[str]:
    """A line for each image file that cannot be decoded, and one that counts them; none if all can."""
    broken = unreadable(paths)
    return [f"{len(broken):,} of {len(paths):,} images cannot be decoded:", *broken] if broken else []


def images_digest(place: Path) -> str:
    """SHA-256 over "<sha256 of the file>  <path below place>" lines, in the order of the paths."""
    digest = hashlib.sha256()
    for path in list_images(place).paths:
        digest.update(f"{file_sha256(path)}  {path.relative_to(place).as_posix()}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def read_records(data_root: Path) -> dict[str, dict[str, str]]:
    """What `add_record` wrote, by the name of the set; empty where nothing was prepared yet."""
    path = data_root / RECORDS
    try:
        return {name: {key: record[key] for key in _OF_A_RECORD} for name, record in read_json(path).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise UserError(f"damaged file: {one_line(error)}\n  file       : {path}\n  do         : delete it") from error


def add_record(data_root: Path, name: str, *record: str) -> None:
    """Write the record of one set, as _OF_A_RECORD, beside those of the others."""
    records = {**read_records(data_root), name: dict(zip(_OF_A_RECORD, record, strict=True))}
    with atomic_write(data_root / RECORDS, "w") as stream:
        json.dump(dict(sorted(records.items())), stream, indent=2)
        stream.write("\n")


def cifar_faults(row: OODSet, folder: Path) -> list[str]:
    """Which of the official files are missing from a folder of batches, and which are not the official ones."""
    files = _cifar_files(row)
    missing = [name for name in files if not (folder / name).is_file()]
    wrong = [name for name, md5 in files.items() if name not in missing and file_md5(folder / name) != md5]
    faults = [f"missing: {', '.join(missing)}"] if missing else []
    return faults + ([f"checksums differ from the official files: {', '.join(wrong)}"] if wrong else [])


def _cifar_files(row: OODSet) -> dict[str, str]:
    facts = cifar.cifar_facts(row.name)
    return dict([*facts.train_list, *facts.test_list, (facts.meta["filename"], facts.meta["md5"])])


def _other_files(row: OODSet, folder: Path, data_root: Path) -> list[str]:
    files = [(folder / download.file.name, download.md5) for download in downloads_of(row, data_root)]
    return [
        f"{path.name} is not the published file: md5 {file_md5(path)} in place of {md5}"
        for path, md5 in files
        if path.is_file() and file_md5(path) != md5
    ]


def _look_for_cifar(row: OODSet, data_root: Path) -> Found:
    place = places_of(row, data_root)[0]
    folder = cifar.find_cifar(row.name, [place.parent])
    if folder is None:
        return Found("missing", place, "")
    there = [(folder / name).is_file() for name in _cifar_files(row)]
    return Found("found" if all(there) else "other", folder, f"{sum(there)} of {len(there)} files")


def _look_for_arrays(row: OODSet, data_root: Path) -> Found:
    load = {"svhn": load_svhn, "mnist": load_mnist}[row.kind]
    for folder in existing_places(ood_roots(row, data_root)[0], row.folders):
        try:
            return _counted(row, folder, len(load(folder)[0]))
        except FileNotFoundError:
            continue
        except UserError as error:
            return Found("other", folder, str(error).splitlines()[0])
    return Found("missing", places_of(row, data_root)[0], "")


def _look_for_files(row: OODSet, data_root: Path) -> Found:
    for root in ood_roots(row, data_root):
        for place in existing_places(root, row.folders):
            images = len(list_images(place).paths)
            if images:
                return _counted(row, place, images)
        for place in existing_places(root, row.unverified_folders):
            return Found("other", place, "a folder of unknown origin")
    return Found("missing", places_of(row, data_root)[0], "")


def _counted(row: OODSet, place: Path, images: int) -> Found:
    if images == row.count:
        return Found("found", place, f"{images:,} images")
    return Found("other", place, f"{images:,} images in place of {row.count:,}")
