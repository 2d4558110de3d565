"""Files that are either complete or not there, and files of others that are looked at before they are believed."""

import fcntl
import hashlib
import json
import os
import re
import secrets
import shlex
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from utils.errors import UserError, one_line

# datasets/ and checkpoints/ are found from here, whatever folder a command is typed in.
REPOSITORY = Path(__file__).resolve().parent.parent


def typed(script: str, *arguments: str | Path) -> str:
    """How to run a script of this repository from the folder this process is in, with the Python that runs it.

    `python eval_cider.py` where that is so; the path of the interpreter where `python` is another one or none.
    """
    python = next((name for name in ("python", "python3") if shutil.which(name) == sys.executable), None)
    python = python or _from_here(Path(sys.executable))
    return shlex.join([python, _from_here(REPOSITORY / script), *map(str, arguments)])


def portable(path: str | Path) -> str:
    """How a place is written down: from the repository, as `~/...` where that is not in it, else as `../...`.

    So what is shared names no folder of the machine that made it, and `local` finds the place there again.
    """
    place = Path(os.path.abspath(path))
    if not place.is_relative_to(REPOSITORY) and place.is_relative_to(Path.home()):
        return f"~/{place.relative_to(Path.home())}"
    return os.path.relpath(place, REPOSITORY)


def local(text: str | Path) -> Path:
    """The place that `portable` has written down."""
    # Without `..`, as it is shown in messages; `portable` went up from the repository without looking at links, too.
    return Path(os.path.normpath(REPOSITORY / Path(text).expanduser()))


def _from_here(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


@contextmanager
def atomic_write(path: str | Path, mode: str = "wb", *, previous: str | Path | None = None) -> Iterator[IO]:
    """Open a temporary file beside `path`; when the block ends well it is flushed to disk and replaces `path`.

    If the block raises, or the process dies, `path` is untouched. Text modes write UTF-8. What processes that were
    killed have left half-written in the folder is removed. A device or a pipe, such as /dev/stdout, is written into.

    Args:
        previous: the new name of the file that was at `path`, in the same folder; it is renamed once the new file is
            complete, so that at every moment one of the two names is a complete file.
    """
    path = Path(path)
    # Bytes in a name that are no UTF-8 become escapes, in JSON and YAML those of the very same name.
    text = {} if "b" in mode else {"encoding": "utf-8", "errors": "backslashreplace"}
    if _is_written_into(path):
        with open(path, mode, **text) as stream:
            yield stream
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path.parent)
    temporary, handle = _open_temporary(path)
    try:
        with os.fdopen(handle, mode, **text) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            if previous is not None and path.exists():
                os.replace(path, previous)
            os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _is_written_into(path: Path) -> bool:
    """Whether there is a device or a pipe, which must stay what it is."""
    # /dev/stdout is a link, and may lead to a file.
    special = os.path.exists(path) and not os.path.isdir(path) and not os.path.isfile(path)
    return special or (os.path.isfile(path) and path.absolute().parent == Path("/dev"))


_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}\.tmp")


def _open_temporary(path: Path) -> tuple[Path, int]:
    """A new file beside `path` and its handle, locked for as long as it is open, which says that somebody writes it."""
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        _is_locked_here(handle)
        # Another process may have taken it for abandoned before it was locked.
        if temporary.exists():
            return temporary, handle
        os.close(handle)


def _remove_abandoned(folder: Path) -> None:
    try:
        names = os.listdir(folder)
    except OSError:
        return  # files may be written there, but not listed
    for name in filter(_TEMPORARY.fullmatch, names):
        try:
            handle = os.open(folder / name, os.O_RDWR)
        except OSError:
            continue  # another user's, or just finished
        if _is_locked_here(handle):
            (folder / name).unlink(missing_ok=True)
        os.close(handle)


def _is_locked_here(handle: int) -> bool:
    """Whether the file's lock could be had; never on a file system without locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Context of which a folder has one at a time, over all processes; on a file system without locks, any number."""
    handle = None
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def require_writable(folder: str | Path) -> None:
    """Raise a UserError unless files can be written in `folder`, which need not exist yet; nothing is left there.

    For the start of what takes minutes and is written at its end.
    """
    place = Path(folder).absolute()
    while not os.path.lexists(place):
        place = place.parent
    try:
        tempfile.TemporaryFile(dir=place).close()
    except OSError as error:
        raise UserError(f"nothing can be written to {folder}: {error.strerror}") from error


def require_place(path: Path) -> None:
    """Raise a UserError unless `atomic_write` can put a file at `path`; for the start of what takes minutes."""
    if not _is_written_into(path):
        require_writable(path.parent)


def read_json(path: Path) -> Any:
    """What a JSON file holds. Raises OSError, and ValueError as `parse_json` does."""
    return parse_json(path.read_text(encoding="utf-8"))


def parse_json(text: str) -> Any:
    """What a JSON text says. Raises ValueError with the reason where it is none, or holds an infinite number."""
    try:
        return json.loads(text, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("brackets within brackets, too deep to be read") from None


def _no_number(constant: str) -> Any:
    raise ValueError(f"it holds {constant}, which is no number")


def check_archive(archive: str | Path | IO[bytes], *, checksums: bool = False) -> None:
    """Look at a zip archive that torch.save or numpy.savez is said to have written, before anything of it is believed.

    They store without compression, so that what declares more bytes than the file has would only fill the memory.

    Args:
        checksums: also read every record and compare its CRC, which torch does not.
    Raises:
        ValueError: damaged, or no such archive; the reason.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            declared = sum(record.file_size for record in opened.infolist())
            there = os.stat(archive).st_size if isinstance(archive, str | Path) else archive.seek(0, os.SEEK_END)
            if declared > there:
                raise ValueError(f"it has {there:,} bytes and says that it holds {declared:,}")
            damaged = opened.testzip() if checksums else None
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(one_line(error)) from error
    if damaged is not None:
        raise ValueError(f"its record {one_line(damaged)} is not what was written")


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
