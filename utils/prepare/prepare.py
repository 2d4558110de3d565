"""From a row of the table to images in the official place: download, verify, unpack, count, move in, record."""

import hashlib
import os
from pathlib import Path
from tempfile import TemporaryDirectory

from utils.data.image_folder import IMAGE_SUFFIXES, list_images
from utils.data.ood_files import DRAWN_HERE, existing_places, list_file_beside
from utils.data.ood_table import OODSet
from utils.errors import UserError
from utils.files import atomic_write, file_sha256
from utils.prepare.archives import ArchiveError, file_names, unpack
from utils.prepare.download import DownloadError, fetch, file_md5
from utils.prepare.inventory import add_record, cifar_faults, images_digest, look
from utils.prepare.sources import ARRAYS, Download, downloads_of, places_of

SEED = 0


def prepare(row: OODSet, data_root: Path) -> str:
    """Put a set into its official place unless it is there; returns one line about what was done.

    Nothing that is there is overwritten, and a set gets its place only when all of it is right. The downloaded file
    stays in downloads/.

    Raises:
        UserError: the source fails, the file is damaged or another one, or something else stands in the place.
    """
    try:
        if row.kind in ARRAYS:  # files that are read as they come
            done = _fetch_arrays(row, data_root)
        else:
            done = _fetch_archive(row, data_root)
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


def _fetch_arrays(row: OODSet, data_root: Path) -> str:
    downloads = downloads_of(row, data_root)
    there = all(download.file.is_file() for download in downloads)
    for download in downloads:
        _get_file(row, download)
    return f"{'there already: ' if there else ''}{look(row, data_root).what} in {places_of(row, data_root)[0]}"


def _fetch_archive(row: OODSet, data_root: Path) -> str:
    place = places_of(row, data_root)[0]
    found = look(row, data_root)
    if found.state == "found":
        return f"there already: {found.what} in {found.place}"
    if place.is_dir() and not any(place.iterdir()):
        place.rmdir()
    if os.path.lexists(place):
        raise UserError(
            f"{row.name}: something else stands in its place: {found.what or 'no images'}\n"
            f"  place      : {place}\n  do         : move it away and run the same command again"
        )
    (download,) = downloads_of(row, data_root)
    _get_file(row, download)
    _unpack_into(row, download, place, data_root)
    if row.kind != "cifar":
        add_record(data_root, row.name, images_digest(place), download.address, file_sha256(download.file))
    return f"{look(row, data_root).what} in {place}"


def _get_file(row: OODSet, download: Download) -> None:
    """Fetch a file that is not there; one that is there must be the published one."""
    address, file, md5 = download
    if file.is_file():
        if md5 not in (None, file_md5(file)):
            raise UserError(
                f"{row.name}: the file that is there is not the published one\n  file       : {file}\n"
                f"  md5        : {file_md5(file)} in place of {md5}\n"
                f"  do         : delete it and run the same command again"
            )
        return
    try:
        fetch(address, file, checksum=md5 and f"md5:{md5}")
    except DownloadError as error:
        raise UserError(
            f"{row.name} could not be downloaded.\n  source     : {address}\n"
            f"  it failed  : {error}\n"
            f"  by hand    : get {file.name}{f' (md5 {md5})' if md5 else ''} elsewhere, put it at {file}\n"
            f"               and run the same command again"
        ) from error


def _unpack_into(row: OODSet, download: Download, place: Path, data_root: Path) -> None:
    # On the disk of the place, so that moving in is one rename: a set is there as a whole or not at all.
    with TemporaryDirectory(prefix=".unpacking-", dir=data_root) as folder:
        try:
            unpacked = _unpacked(row, download.file, place, Path(folder))
            _require_right_content(row, unpacked)
        except ArchiveError as error:
            raise UserError(
                f"{row.name}: {error}\n  file       : {download.file}\n  from       : {download.address}\n"
                f"  do         : delete the file, and get it again or from elsewhere"
            ) from error
        place.parent.mkdir(parents=True, exist_ok=True)
        unpacked.rename(place)


def _unpacked(row: OODSet, file: Path, place: Path, folder: Path) -> Path:
    """Unpack what belongs to the set below `folder`; returns the folder that is to be moved to `place`."""
    if row.drawn:
        names = _drawn_names(row, file, place)
        unpack(file, folder, set(names).__contains__)
        return folder / os.path.commonpath([os.path.dirname(name) for name in names])
    wanted = (place.name,) if row.kind == "cifar" else row.folders
    tops = tuple(f"{name}/".casefold() for name in wanted)
    unpack(file, folder, lambda name: name.casefold().startswith(tops))
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
    images = [name for name in file_names(file) if _is_image(Path(name))]
    path = list_file_beside(place)
    if path.is_file():
        names = path.read_text(encoding="utf-8-sig").split("\n")
        names = [name for name in names if name and not name.startswith("#")]
        unknown = sorted(set(names) - set(images))
        if unknown or len(set(names)) != row.count:
            number = f"{len(set(names)):,} names in place of {row.count:,}"
            raise UserError(
                f"{row.name}: the list does not fit: {f'{unknown[0]} is not in the archive' if unknown else number}\n"
                f"  list       : {path}\n  do         : mend it, or delete it to draw a new one"
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


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def _link_other_places(row: OODSet, data_root: Path) -> None:
    """A set that belongs to both benchmarks lies in one place; the other place is a link to it."""
    places = places_of(row, data_root)
    first = next((place for place in places if place.is_dir()), None)
    for other in places:
        if first is not None and not os.path.lexists(other):
            other.parent.mkdir(parents=True, exist_ok=True)
            other.symlink_to(os.path.relpath(first, other.parent), target_is_directory=True)
