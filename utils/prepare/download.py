"""Fetching one file over HTTP: resumed where it broke off, tried again a few times, verified, complete or not there."""

import hashlib
import http.client
import json
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from utils.files import atomic_write

_CHUNK = 1 << 18
_HEADERS = {"User-Agent": "Mozilla/5.0 (prepare_data.py)", "Accept-Encoding": "identity"}
# What a server says when it may well answer next time.
_PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


class DownloadError(Exception):
    """A file that did not come; the message is the reason in a few words."""


class _Interrupted(Exception):
    """A fault that the next attempt may not have."""


@dataclass(frozen=True)
class Patience:
    """How often to try, how long to wait for a silent server (seconds), and how to wait between attempts."""

    attempts: int = 4
    timeout: float = 20.0
    wait: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class _Version:
    """What tells one version of a file on a server from the next: a part of one is never joined to another."""

    address: str
    etag: str | None
    modified: str | None
    size: int | None


def fetch(address: str, path: Path, *, md5: str | None = None, patience: Patience | None = None) -> None:
    """Download `address` (http or https, redirects followed) to `path`.

    What has arrived stands in `path`.part, and a later call goes on from there if the server's file is still the same.

    Args:
        md5: checksum of the whole file in hexadecimal; None where none is published.
    Raises:
        DownloadError: not found, refused, broken off again and again, wrong bytes (which are deleted), disk full.
    """
    patience = patience or Patience()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    for attempt in range(1, patience.attempts + 1):
        try:
            _fetch_rest(address, part, patience.timeout)
            break
        except _Interrupted as error:
            if attempt == patience.attempts:
                arrived = part.stat().st_size if part.exists() else 0
                kept = f"; {megabytes(arrived)} are kept, the same command goes on from there" if arrived else ""
                raise DownloadError(f"{error}, in {attempt} attempts{kept}") from error
            patience.wait(2.0 ** (attempt - 1))
    found = None if md5 is None else file_md5(part)
    if found != md5:
        _discard(part)
        raise DownloadError(f"wrong bytes: md5 {found} in place of {md5}; they were deleted")
    part.replace(path)
    _state_path(part).unlink(missing_ok=True)


def file_md5(path: Path) -> str:
    """MD5 of a file's bytes. It shows damage; it is no protection against forgery."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def megabytes(count: int) -> str:
    """A number of bytes for people."""
    return f"{count / 1e6:,.1f} MB" if count < 100e6 else f"{count / 1e6:,.0f} MB"


def require_space(folder: Path, count: int) -> None:
    """Raise DownloadError unless the disk of `folder` has room for `count` more bytes."""
    free = shutil.disk_usage(folder).free
    if count > free:
        raise DownloadError(f"{megabytes(count)} are needed in {folder}, {megabytes(free)} are free")


def _fetch_rest(address: str, part: Path, timeout: float) -> None:
    known = _read_state(part)
    have = part.stat().st_size if known is not None and known.address == address and part.exists() else 0
    if have and have == known.size:
        return
    with _opened(address, have, timeout) as response:
        version = _version_of(response, address)
        if have and not (response.status == 206 and _starts_at(response, have) and version == known):
            have = 0
            if response.status == 206:
                _discard(part)
                raise _Interrupted("the file on the server changed during the download")
        if response.headers.get_content_type() == "text/html":
            raise DownloadError("a web page came in place of the file: the link is dead or asks for a click")
        if version.size is not None:
            require_space(part.parent, version.size - have)
        with atomic_write(_state_path(part), "w") as stream:
            json.dump(asdict(version), stream)
        _append_body(response, part, have, version)


def _append_body(response: http.client.HTTPResponse, part: Path, have: int, version: _Version) -> None:
    with (
        open(part, "ab" if have else "wb") as stream,
        tqdm(total=version.size, initial=have, unit="B", unit_scale=True, desc=part.stem, disable=None) as bar,
    ):
        while chunk := _next_chunk(response):
            try:
                stream.write(chunk)
            except OSError as error:
                raise DownloadError(f"cannot write {part}: {error.strerror}") from error
            have += len(chunk)
            bar.update(len(chunk))
    if version.size is not None and have != version.size:
        raise _Interrupted(f"broke off after {have:,} of {version.size:,} bytes")


def _next_chunk(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read1(_CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _Interrupted(f"broke off: {_reason(error)}") from error


def _opened(address: str, have: int, timeout: float) -> http.client.HTTPResponse:
    headers = {**_HEADERS, "Range": f"bytes={have}-"} if have else _HEADERS
    try:
        return _opener().open(urllib.request.Request(address, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        said = f"{error.code} {error.reason}".strip()
        error.close()
        if error.code == 416 and have:
            # The file there has become shorter than what is here. Asking without a range starts over.
            return _opened(address, 0, timeout)
        raise (_Interrupted if error.code in _PASSING_STATUS else DownloadError)(said) from error
    except urllib.error.URLError as error:
        lasting = isinstance(error.reason, socket.gaierror | ssl.SSLCertVerificationError | str)
        raise (DownloadError if lasting else _Interrupted)(_reason(error.reason)) from error
    except ValueError as error:
        raise DownloadError(f"no usable address: {error}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _Interrupted(_reason(error)) from error


def _opener() -> urllib.request.OpenerDirector:
    # Not build_opener: it also serves file:, ftp: and data:, and a redirect must not lead there.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    return opener


def _version_of(response: http.client.HTTPResponse, address: str) -> _Version:
    if response.status == 206:
        size = response.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        size = response.headers.get("Content-Length", "")
    return _Version(
        address,
        response.headers.get("ETag"),
        response.headers.get("Last-Modified"),
        int(size) if size.isdecimal() else None,
    )


def _starts_at(response: http.client.HTTPResponse, have: int) -> bool:
    return response.headers.get("Content-Range", "").startswith(f"bytes {have}-")


def _state_path(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_state(part: Path) -> _Version | None:
    try:
        return _Version(**json.loads(_state_path(part).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _state_path(part).unlink(missing_ok=True)


def _reason(error: object) -> str:
    if isinstance(error, TimeoutError):
        return "the server did not answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
