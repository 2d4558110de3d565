"""Looking at paths that a user names: what may not be looked at is an error of its own, not a missing file."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

from utils.errors import UserError, one_line, shown


def is_file(path: Path) -> bool:
    """True for a regular file or a link to one. UserError: the system does not let us look."""
    return _is(path, stat.S_ISREG)


def is_folder(path: Path) -> bool:
    """True for a folder or a link to one. UserError: the system does not let us look."""
    return _is(path, stat.S_ISDIR)


def children(folder: Path) -> list[Path]:
    """What lies in a folder, sorted by name. UserError: it cannot be listed."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise cannot_read(error, folder) from error


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


def read_text(path: Path, what: str) -> str:
    """A text file in UTF-8, with or without the byte-order mark that some editors write.

    Args:
        what: the file, for the message.
    Raises:
        UserError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{what} cannot be read: {one_line(error)}\n  looked for : {shown(path)}") from error


def cannot_read(error: OSError, path: Path) -> UserError:
    """The UserError for a place that the system refuses."""
    return UserError(
        f"cannot be read: {error.strerror}\n  looked at  : {shown(path)}\n"
        f"  do         : check the path and its permissions"
    )


def _is(path: Path, kind: Callable[[int], bool]) -> bool:
    try:
        return kind(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise cannot_read(error, path) from error
