"""Unpacking tar and zip archives that nobody vouches for: all of it inside one folder, or nothing."""

import lzma
import os
import secrets
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
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


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """A new hidden folder in `parent`, removed when the block ends, well or not."""
    parent.mkdir(parents=True, exist_ok=True)
    folder = parent / f".unpacking-{secrets.token_hex(4)}"
    folder.mkdir()  # tempfile's would be closed to everybody else
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def file_names(archive: Path) -> list[str]:
    """Names of all files in a tar archive, sorted, after the checks of `unpack`. Raises ArchiveError."""
    with _open(archive) as tar:
        return sorted(_normal(member.name) for member in _checked(tar) if member.isfile())


def unpack(archive: Path, folder: Path, keep: Callable[[str], bool]) -> None:
    """Write those files of a tar (plain, gz, bz2, xz) or zip archive for whose names `keep` is true below `folder`.

    Every entry is looked at before the first is written: links, devices, absolute names, names that lead out of the
    folder, and more bytes than the disk has free are refused.

    Raises:
        ArchiveError: refused, or damaged. `folder` may then hold a part: unpack into a temporary one.
    """
    if zipfile.is_zipfile(archive):
        _unpack_zip(archive, folder, keep)
        return
    with _open(archive) as tar:
        members = [member for member in _checked(tar) if member.isfile() and keep(_normal(member.name))]
        _require_space(folder, sum(member.size for member in members))
        for member in _progress(members, archive):
            # The filter holds whatever the checks above may have missed, and drops owners and special permissions.
            tar.extract(member, folder, filter="data")


def _unpack_zip(archive: Path, folder: Path, keep: Callable[[str], bool]) -> None:
    with _open(archive, zipfile.ZipFile) as content:
        members = [member for member in content.infolist() if not member.is_dir()]
        for member in members:
            _refuse(member.filename, _name_fault(member.filename))
        members = [member for member in members if keep(_normal(member.filename))]
        _require_space(folder, sum(member.file_size for member in members))
        for member in _progress(members, archive):
            content.extract(member, folder)  # which compares the CRC; a link becomes a file


def _progress(members: list, archive: Path) -> Iterable:
    return tqdm(members, desc=f"unpacking {archive.name}", unit=" files", disable=None)


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ArchiveError(f"unpacked it needs {megabytes(needed)}, {megabytes(free)} are free")


def _checked(tar: tarfile.TarFile) -> list[tarfile.TarInfo]:
    members = tar.getmembers()
    # What a compressed archive says of its own content, such as gzip's CRC, stands at its end, behind that of the tar.
    while tar.fileobj.read(1 << 20):
        pass
    for member in members:
        _refuse(member.name, _fault(member))
    return members


def _refuse(name: str, fault: str | None) -> None:
    if fault:
        raise ArchiveError(f"refused, nothing was unpacked: {shown(name)!r} {fault}")


def _fault(member: tarfile.TarInfo) -> str | None:
    if member.issym() or member.islnk():
        return f"is a link to {shown(member.linkname)!r}"
    if not (member.isfile() or member.isdir()):
        return "is a device or a pipe"
    return _name_fault(member.name)


def _name_fault(told: str) -> str | None:
    name = told.replace("\\", "/")
    if name.startswith("/") or name[1:2] == ":" or os.path.isabs(told):
        return "is an absolute name"
    if ".." in PurePosixPath(name).parts:
        return "leads out of the folder"
    return None


@contextmanager
def _open(archive: Path, opener: Callable = tarfile.open) -> Iterator[Any]:
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


def _normal(name: str) -> str:
    return str(PurePosixPath(name))
