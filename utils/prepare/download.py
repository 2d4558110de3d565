"""Fetching one file over HTTP by pooch: tried again a few times, verified, complete or not there."""

import hashlib
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pooch
import requests

from utils.errors import one_line

ATTEMPTS = 4
TIMEOUT = 20  # seconds without a word from the server
_HEADERS = {"User-Agent": "Mozilla/5.0 (prepare_data.py)", "Accept-Encoding": "identity"}
# What a server says when it may well answer next time.
_PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


class DownloadError(Exception):
    """A file that did not come; the message is the reason in a few words."""


def fetch(address: str, path: Path, *, checksum: str | None = None) -> None:
    """Download `address` (http or https, redirects followed) to `path`, which comes into being as a whole.

    A connection that breaks off, a server that is busy and wrong bytes are tried again, from the beginning.

    Args:
        checksum: of the whole file, as "md5:..." or "sha256:..." in hexadecimal; None where none is published. A file
            that is there and has it is left alone.
    Raises:
        DownloadError: not found, refused, broken off again and again, wrong bytes, disk full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    pooch.get_logger().setLevel("ERROR")  # what is fetched is said by who asks for it
    downloader = pooch.HTTPDownloader(
        progressbar=sys.stderr.isatty(),
        chunk_size=1 << 18,
        timeout=TIMEOUT,
        headers=_HEADERS,
        hooks={"response": partial(_check, folder=path.parent)},
    )
    keeper = pooch.create(
        path.parent,
        base_url="",
        registry={path.name: checksum},
        urls={path.name: address},
        retry_if_failed=ATTEMPTS - 1,
    )
    try:
        keeper.fetch(path.name, downloader=downloader)
    except (requests.RequestException, ValueError) as error:
        raise DownloadError(f"{_reason(error)}, in {ATTEMPTS} attempts") from error
    except OSError as error:
        raise DownloadError(f"cannot write {path}: {error.strerror}") from error


def file_md5(path: Path) -> str:
    """MD5 of a file's bytes. It shows damage; it is no protection against forgery."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def megabytes(count: int) -> str:
    """A number of bytes for people."""
    return f"{count / 1e6:,.1f} MB" if count < 100e6 else f"{count / 1e6:,.0f} MB"


def _check(response: requests.Response, *_: Any, folder: Path, **__: Any) -> None:
    """Raise a DownloadError where an answer, before its body is read, is one that another attempt would not better."""
    if response.is_redirect or response.status_code in _PASSING_STATUS:
        return
    if response.status_code >= 400:
        raise DownloadError(f"{response.status_code} {response.reason}".strip())
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise DownloadError("a web page came in place of the file: the link is dead or asks for a click")
    needed, free = int(response.headers.get("Content-Length", 0)), shutil.disk_usage(folder).free
    if needed > free:
        raise DownloadError(f"{megabytes(needed)} are needed in {folder}, {megabytes(free)} are free")


def _reason(error: Exception) -> str:
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return "the server did not answer in time"
    if isinstance(error, requests.HTTPError):
        return f"{error.response.status_code} {error.response.reason}"
    if "hash of downloaded file" in str(error):
        return f"wrong bytes, which were deleted: {one_line(error)}"
    return one_line(error)
