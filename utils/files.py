"""Files that are either complete or not there: atomic writing and checksums."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

# datasets/ and checkpoints/ are found from here, whatever folder a command is typed in.
REPOSITORY = Path(__file__).resolve().parent.parent


@contextmanager
def atomic_write(path: str | Path, mode: str = "wb", *, previous: str | Path | None = None) -> Iterator[IO]:
    """Open a temporary file beside `path`; when the block ends well it is flushed to disk and replaces `path`.

    If the block raises, or the process dies, `path` is untouched. Text modes write UTF-8.

    Args:
        previous: the new name of the file that was at `path`, in the same folder; it is renamed once the new file is
            complete, so that at every moment one of the two names is a complete file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, mode, encoding=None if "b" in mode else "utf-8") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes the file private; give it the permissions that open() would have given.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        if previous is not None and path.exists():
            os.replace(path, previous)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
