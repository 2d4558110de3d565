"""From a row of the table to images in the official place: download, verify, unpack, count, move in, record."""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from utils.data.image_folder import IMAGE_SUFFIXES, list_images
from utils.data.ood_files import DRAWN_HERE, existing_places, list_file_beside
from utils.data.ood_table import OODSet
from utils.errors import UserError
from utils.files import atomic_write, file_sha256
from utils.prepare.archives import ArchiveError, file_names, temporary_folder, unpack
from utils.prepare.download import DownloadError, fetch, file_md5
from utils.prepare.inventory import Found, Record, add_record, cifar_faults, images_digest, look
from utils.prepare.sources import ARRAYS, Source, archive_of, places_of

SEED = 0


def prepare(row: OODSet, source: Source, data_root: Path) -> str:
    """Put a set into its official place unless it is there; returns one line about what was done.

    Nothing that is there is overwritten, and a set gets its place only when all of it is right. The downloaded file
    stays in downloads/.

    Raises:
        UserError: the source fails, the file is damaged or another one, or something else stands in the place.
    """
    try:
        done = _put_in_place(row, source, data_root)
        _link_other_places(row, data_root)
    except OSError as error:
        raise UserError(f"{row.name} cannot be written: {error.strerror}\n  place      : {error.filename}") from error
    return done


def draw(names: list[str], count: int, seed: int = SEED) -> list[str]:
    """A fixed choice of `count` names, sorted: those whose SHA-256 of "<seed>:<name>" is smallest.

    It depends on the names and the seed alone, not on a library's random numbers.
    """

    def key(name: str) -> bytes:
        return hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogateescape")).digest()

    return sorted(sorted(names, key=key)[:count])


def _put_in_place(row: OODSet, source: Source, data_root: Path) -> str:
    place = places_of(row, data_root)[0]
    if row.kind in ARRAYS:  # files that are read as they come
        missing = [part for part in source.parts or (source,) if not archive_of(row, part, data_root).is_file()]
        for part in source.parts or (source,):
            _get_file(row, part, data_root)
        return f"{'' if missing else 'there already: '}{look(row, data_root).what} in {place}"
    found = look(row, data_root)
    if found.state == "found":
        return f"there already: {found.what} in {found.place}"
    _require_free(row, found, place)
    file = _get_file(row, source, data_root)
    _unpack_into(row, source, file, place, data_root)
    if row.kind != "cifar":
        add_record(data_root, row.name, Record(images_digest(place), source.address, file_sha256(file)))
    return f"{look(row, data_root).what} in {place}"


def _require_free(row: OODSet, found: Found, place: Path) -> None:
    if place.is_dir() and not any(place.iterdir()):
        place.rmdir()
    if place.exists() or place.is_symlink():
        raise UserError(
            f"{row.name}: something else stands in its place: {found.what or 'no images'}\n"
            f"  place      : {place}\n  do         : move it away and run the same command again"
        )


def _get_file(row: OODSet, source: Source, data_root: Path) -> Path:
    file = archive_of(row, source, data_root)
    if file.is_file():
        if source.md5 is not None and file_md5(file) != source.md5:
            raise UserError(
                f"{row.name}: the file that is there is not the published one\n  file       : {file}\n"
                f"  md5        : {file_md5(file)} in place of {source.md5}\n"
                f"  do         : delete it and run the same command again"
            )
        return file
    try:
        fetch(source.address, file, md5=source.md5)
    except DownloadError as error:
        checksum = f" (md5 {source.md5})" if source.md5 else ""
        raise UserError(
            f"{row.name} could not be downloaded.\n  source     : {source.address}\n"
            f"  it failed  : {error}\n"
            f"  by hand    : get {source.file_name}{checksum} elsewhere, put it at {file}\n"
            f"               and run the same command again"
        ) from error
    return file


def _unpack_into(row: OODSet, source: Source, file: Path, place: Path, data_root: Path) -> None:
    # On the disk of the place, so that moving in is one rename: a set is there as a whole or not at all.
    with temporary_folder(data_root) as folder:
        try:
            if row.drawn:
                names = _drawn_names(row, file, place)
                unpack(file, folder, set(names).__contains__)
                unpacked = folder / os.path.commonpath([os.path.dirname(name) for name in names])
            else:
                unpack(file, folder, _belongs_to(_folders_in_archive(row, place)))
                unpacked = _first_folder(folder, _folders_in_archive(row, place))
            _require_right_content(row, unpacked)
        except ArchiveError as error:
            raise UserError(
                f"{row.name}: {error}\n  file       : {file}\n  from       : {source.address}\n"
                f"  do         : delete the file, and get it again or from elsewhere"
            ) from error
        place.parent.mkdir(parents=True, exist_ok=True)
        unpacked.rename(place)


def _folders_in_archive(row: OODSet, place: Path) -> tuple[str, ...]:
    return (place.name,) if row.kind == "cifar" else row.folders


def _belongs_to(folders: tuple[str, ...]) -> Callable[[str], bool]:
    tops = tuple(f"{folder}/".casefold() for folder in folders)
    return lambda name: name.casefold().startswith(tops)


def _first_folder(folder: Path, wanted: tuple[str, ...]) -> Path:
    places = existing_places(folder, wanted)
    if not places:
        raise ArchiveError(f"another archive: it holds no folder {wanted[0]}")
    return places[0]


def _require_right_content(row: OODSet, unpacked: Path) -> None:
    """Another selection must not get the official name, and a tar that breaks off may look like a short one."""
    if row.kind == "cifar":
        faults = cifar_faults(row, unpacked)
        if faults:
            raise ArchiveError("; ".join(faults))
        return
    images = len(list_images(unpacked).paths)
    if images != row.count:
        raise ArchiveError(f"it holds {images:,} images in place of {row.count:,}: cut short, or another selection")


def _drawn_names(row: OODSet, file: Path, place: Path) -> list[str]:
    """The images of the list file; where there is none, it is drawn and written first."""
    images = [name for name in file_names(file) if _is_image(name)]
    path = list_file_beside(place)
    if path.is_file():
        names = path.read_text(encoding="utf-8-sig").split("\n")
        names = [name for name in names if name and not name.startswith("#")]
        unknown = sorted(set(names) - set(images))
        if unknown or len(set(names)) != row.count:
            number = f"{len(set(names)):,} names in place of {row.count:,}"
            fault = f"{unknown[0]} is not in the archive" if unknown else number
            raise UserError(
                f"{row.name}: the list does not fit: {fault}\n  list       : {path}\n"
                f"  do         : mend it, or delete it to draw a new one"
            )
        return names
    if len(images) < row.count:
        raise ArchiveError(f"it holds {len(images):,} images, too few to draw {row.count:,}: cut short, or another one")
    names = draw(images, row.count)
    with atomic_write(path, "w") as stream:
        stream.write(
            f"{DRAWN_HERE}{row.count:,} of the {len(images):,} images of {file.name}: those with the smallest SHA-256 "
            f'of "{SEED}:<name>"\n'
        )
        stream.write("".join(f"{name}\n" for name in names))
    return names


def _is_image(name: str) -> bool:
    base = os.path.basename(name)
    return os.path.splitext(base)[1].lower() in IMAGE_SUFFIXES and not base.startswith(".")


def _link_other_places(row: OODSet, data_root: Path) -> None:
    """A set that belongs to both benchmarks lies in one place; the other place is a link to it."""
    places = places_of(row, data_root)
    first = next((place for place in places if place.is_dir()), None)
    for other in places:
        if first is not None and not other.exists() and not other.is_symlink():
            other.parent.mkdir(parents=True, exist_ok=True)
            try:
                other.symlink_to(os.path.relpath(first, other.parent), target_is_directory=True)
            except OSError:  # a file system without links
                with temporary_folder(data_root) as folder:
                    shutil.copytree(first, folder / "copy")
                    (folder / "copy").rename(other)
