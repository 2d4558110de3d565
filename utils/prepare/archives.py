"""Unpacking tar and zip archives that nobody vouches for: nothing of it outside one folder."""

import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from utils.errors import one_line, shown
from utils.prepare.download import megabytes

# What the readers of archives raise over damaged ones; zipfile has a RuntimeError for those with a password.
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, RuntimeError, EOFError, zlib.error, lzma.LZMAError, ValueError)


class ArchiveError(Exception):
    """An archive that is damaged, or that holds what no data set needs; the message says what."""


def file_names(archive: Path) -> list[str]:
    """Names of all files in a tar archive, sorted. Raises ArchiveError."""
    with _open(archive, tarfile.open) as tar:
        return sorted(_normal(member.name) for member in _members(tar))


def unpack(archive: Path, folder: Path, keep: Callable[[str], bool]) -> None:
    """Write those files of a tar (plain, gz, bz2, xz) or zip archive for whose names `keep` is true below `folder`.

    Links and devices are left out.

    Raises:
        ArchiveError: damaged, a name that leads out of the folder, or more bytes than the disk has free. `folder` may
            then hold a part: unpack into a temporary one.
    """
    if zipfile.is_zipfile(archive):
        with _open(archive, zipfile.ZipFile) as content:
            sizes = {member: member.file_size for member in content.infolist() if keep(_normal(member.filename))}
            for member in _fitting(sizes, archive, folder):
                content.extract(member, folder)  # which compares the CRC, and stays in the folder
    else:
        with _open(archive, tarfile.open) as tar:
            sizes = {member: member.size for member in _members(tar) if keep(_normal(member.name))}
            for member in _fitting(sizes, archive, folder):
                # Not tar.extract with its filter for data, which Python 3.11 has from 3.11.4 on only.
                place = _inside(folder, member.name)
                place.parent.mkdir(parents=True, exist_ok=True)
                with tar.extractfile(member) as source, open(place, "wb") as target:
                    shutil.copyfileobj(source, target)


def _members(tar: tarfile.TarFile) -> list[tarfile.TarInfo]:
    members = tar.getmembers()
    # What a compressed archive says of its own content, such as gzip's CRC, stands at its end, behind that of the tar.
    while tar.fileobj.read(1 << 20):
        pass
    return [member for member in members if member.isfile()]


def _fitting(sizes: dict, archive: Path, folder: Path) -> tqdm:
    """The members of an archive, with a progress bar."""
    needed, free = sum(sizes.values()), shutil.disk_usage(folder).free
    if needed > free:
        raise ArchiveError(f"unpacked it needs {megabytes(needed)}, {megabytes(free)} are free")
    return tqdm(sizes, desc=f"unpacking {archive.name}", unit=" files", disable=None)


@contextmanager
def _open(archive: Path, opener: Callable) -> Iterator[Any]:
    try:
        with opener(archive) as content:
            yield content
    except _DAMAGED as error:
        raise ArchiveError(f"damaged, or no archive: {one_line(error)}") from error
    except OSError as error:
        # The decompressors raise OSErrors that have no number; those of the disk have one.
        if error.errno is None:
            raise ArchiveError(f"damaged: {one_line(error)}") from error
        raise ArchiveError(f"cannot unpack: {error.strerror}: {shown(error.filename or archive)}") from error


def _inside(folder: Path, name: str) -> Path:
    """Where a file of that name goes. Raises ArchiveError where that is outside the folder."""
    if ".." in PurePosixPath(name).parts:
        raise ArchiveError(f"damaged, or no archive: {shown(name)} would be outside the destination")
    return folder / name.lstrip("/")


def _normal(name: str) -> str:
    return str(PurePosixPath(name))
