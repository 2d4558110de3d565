"""Looking at paths that a user names: what may not be looked at is an error of its own, not a missing file."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

from utils.errors import UserError


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


def cannot_read(error: OSError, path: Path) -> UserError:
    """The UserError for a place that the system refuses."""
    return UserError(
        f"cannot be read: {error.strerror}\n  looked at  : {shown(path)}\n"
        f"  do         : check the path and its permissions"
    )


def shown(name: str | Path) -> str:
    """A file's name on one line that any stream can take: control characters and bytes that are no UTF-8 as escapes."""
    return "".join(_escaped(char) if _needs_escape(char) else char for char in str(name))


def described(error: Exception) -> str:
    """What went wrong on one short line; the text may hold pieces of a damaged file."""
    return shown(f"{type(error).__name__}: {error}"[:200])


def _needs_escape(char: str) -> bool:
    # Not str.isprintable: Persian and the scripts of India need its zero-width joiners.
    code = ord(char)
    return code < 0x20 or 0x7F <= code < 0xA0 or code in (0x2028, 0x2029) or 0xD800 <= code < 0xE000


def _escaped(char: str) -> str:
    return char.encode("ascii", "backslashreplace").decode() if ord(char) > 0x7F else f"\\x{ord(char):02x}"


def _is(path: Path, kind: Callable[[int], bool]) -> bool:
    try:
        return kind(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise cannot_read(error, path) from error
