"""What of the data sets is on disk: found or missing, how many images, and whether the bytes are the right ones."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from utils.data import cifar, mnist
from utils.data.id_records import id_set
from utils.data.image_folder import list_images, unreadable
from utils.data.imagenet import read_imagenet_100
from utils.data.ood_files import existing_places
from utils.data.ood_table import OODSet
from utils.data.svhn import load_selected_svhn
from utils.errors import UserError, one_line
from utils.files import atomic_write, file_sha256, read_json
from utils.prepare.download import file_md5
from utils.prepare.sources import Source, ood_roots, places_of

RECORDS = "prepared.json"


@dataclass(frozen=True)
class Found:
    """A set on disk. state: "missing", "found" (whole, by count) or "other"; `what` says in words what is there."""

    state: str
    place: Path
    what: str


@dataclass(frozen=True)
class Record:
    """What prepare_data.py put there: the digest of all images, and the file they came from."""

    sha256: str
    address: str
    file_sha256: str


def look(row: OODSet, data_root: Path) -> Found:
    """Count what is there, without reading it."""
    kinds = {"cifar": _look_for_cifar, "svhn": _look_for_arrays, "mnist": _look_for_arrays, "files": _look_for_files}
    return kinds[row.kind](row, data_root)


def check(row: OODSet, source: Source, data_root: Path, *, decode: bool = False) -> tuple[Found, list[str]]:
    """Read everything that is there: what `look` says, and every fault found. No faults where nothing is found.

    Args:
        decode: also decode every image file.
    """
    found = look(row, data_root)
    if found.state == "missing":
        return found, []
    faults = [found.what] if found.state == "other" else []
    if row.kind == "cifar":
        faults = cifar_faults(row, found.place)
        return found, faults + (_cifar_counts(row, found.place) if faults else [])
    if row.kind != "files":
        return found, faults + _other_files(source, found.place)
    if decode:
        faults += decoding_faults(list_images(found.place).paths)
    record = read_records(data_root).get(row.name)
    if record is not None and images_digest(found.place) != record.sha256:
        faults.append("files are not those that were unpacked: they were changed, renamed, added or removed")
    return found, faults


def check_imagenet_100(folder: Path, *, decode: bool) -> tuple[Found, list[str]]:
    """As `check`, for ImageNet-100 in `folder`, of which no checksum is published."""
    if not (folder / "train").is_dir():
        return Found("missing", folder, ""), []
    try:
        read = read_imagenet_100(id_set("ImageNet-100"), folder, size=1)
    except UserError as error:
        return Found("other", folder, "train/ and val/ do not fit"), [str(error).splitlines()[0]]
    paths = [*read.train.paths, *read.test.paths]
    found = Found("found", folder, f"{len(read.train):,} training and {len(read.test):,} test images")
    return found, [*read.notes, *(decoding_faults(paths) if decode else [])]


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


def read_records(data_root: Path) -> dict[str, Record]:
    """Records by the name of the set; empty where nothing was prepared yet."""
    path = data_root / RECORDS
    try:
        return {name: Record(**entry) for name, entry in read_json(path).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"damaged file: {one_line(error)}\n  file       : {path}\n  do         : delete it") from error


def add_record(data_root: Path, name: str, record: Record) -> None:
    """Write the record of one set beside those of the others."""
    records = {**read_records(data_root), name: record}
    with atomic_write(data_root / RECORDS, "w") as stream:
        json.dump({key: asdict(records[key]) for key in sorted(records)}, stream, indent=2)
        stream.write("\n")


def _look_for_cifar(row: OODSet, data_root: Path) -> Found:
    place = places_of(row, data_root)[0]
    folder = cifar.find_cifar(row.name, [place.parent])
    if folder is None:
        return Found("missing", place, "")
    names = list(_cifar_files(row))
    there = sum((folder / name).is_file() for name in names)
    state = "found" if there == len(names) else "other"
    return Found(state, folder, f"{there} of {len(names)} files")


def _cifar_files(row: OODSet) -> dict[str, str]:
    facts = cifar.cifar_facts(row.name)
    return dict([*facts.train_list, *facts.test_list, (facts.meta["filename"], facts.meta["md5"])])


def cifar_faults(row: OODSet, folder: Path) -> list[str]:
    """Which of the official files are missing from a folder of batches, and which are not the official ones."""
    files = _cifar_files(row)
    missing = [name for name in files if not (folder / name).is_file()]
    wrong = [name for name, md5 in files.items() if name not in missing and file_md5(folder / name) != md5]
    faults = [f"missing: {', '.join(missing)}"] if missing else []
    return faults + ([f"checksums differ from the official files: {', '.join(wrong)}"] if wrong else [])


def _cifar_counts(row: OODSet, folder: Path) -> list[str]:
    try:
        counts = {part: len(cifar.read_split(row.name, folder, part).labels) for part in ("train", "test")}
    except UserError as error:
        return [str(error).splitlines()[0]]
    return [f"they hold {counts['train']:,} training and {counts['test']:,} test images"]


def _look_for_arrays(row: OODSet, data_root: Path) -> Found:
    load = {"svhn": lambda folder: load_selected_svhn(folder)[0], "mnist": mnist.load_mnist}[row.kind]
    for folder in existing_places(ood_roots(row, data_root)[0], row.folders):
        try:
            return _counted(row, folder, len(load(folder)))
        except FileNotFoundError:
            continue
        except UserError as error:
            return Found("other", folder, str(error).splitlines()[0])
    return Found("missing", places_of(row, data_root)[0], "")


def _other_files(source: Source, folder: Path) -> list[str]:
    files = [(part.md5, folder / part.file_name) for part in source.parts or (source,)]
    return [
        f"{path.name} is not the published file: md5 {file_md5(path)} in place of {md5}"
        for md5, path in files
        if path.is_file() and file_md5(path) != md5
    ]


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
