"""Looking at paths that a user names, and what to tell of them."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from utils.errors import UserError, shown
from utils.files import typed


@contextmanager
def as_user_errors() -> Iterator[None]:
    """Turn what the system refuses in a block, or in a decorated function, into a UserError that names the place."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot be read: {error.strerror}\n  looked at  : {shown(error.filename)}\n"
            f"  do         : check the path and its permissions"
        ) from error


def is_file(path: Path) -> bool:
    """True for a regular file or a link to one. OSError: the system does not let us look."""
    return stat.S_ISREG(_mode(path))


def is_folder(path: Path) -> bool:
    """True for a folder or a link to one. OSError: the system does not let us look."""
    return stat.S_ISDIR(_mode(path))


def folders_in(folder: Path) -> list[Path]:
    """The folders in a folder but for hidden ones, sorted by name. OSError: it cannot be listed."""
    with os.scandir(folder) as entries:
        return sorted(Path(entry) for entry in entries if not entry.name.startswith(".") and entry.is_dir())


def require_folder(folder: Path) -> None:
    """Raise a UserError unless `folder` is a folder."""
    if is_folder(folder):
        return
    if os.path.lexists(folder):
        raise UserError(
            f"a folder of images is needed, this is a file.\n  looked at  : {shown(folder)}\n"
            f"  do         : pass the folder that holds it"
        )
    raise UserError(f"folder not found.\n  looked for : {shown(folder)}\n  do         : check the path")


def damaged(fault: str, path: Path, name: str) -> UserError:
    """The error for a file of a published data set that is not what it should be."""
    return UserError(
        f"damaged file: {fault}\n  file       : {shown(path)}\n"
        f"  do         : delete it and get it again: {typed('scripts/prepare_data.py')} --only {name}"
    )


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
