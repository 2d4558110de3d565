"""Small archives, and a server that has them, for the tests of prepare_data.py."""

import hashlib
import io
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from tests.faulty_server import FaultyServer
from utils.data.ood_table import OODSet

LSUN = OODSet("LSUN", "files", "", "", 3, ("LSUN/test", "LSUN"))


def png(seed: int) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def tar_of(files: dict[str, bytes], *odd: tarfile.TarInfo, compression: str = "gz") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=f"w:{compression}") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in odd:
            tar.addfile(member, io.BytesIO(b"\0" * member.size))
    return stream.getvalue()


def zip_of(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def lsun_files(count: int = 3) -> dict[str, bytes]:
    return {f"LSUN/test/{number}.png": png(number) for number in range(count)}


def svhn_file(path: Path, count: int) -> bytes:
    images = np.random.default_rng(0).integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
    savemat(path, {"X": images, "y": (np.arange(count) % 10 + 1).astype(np.uint8)[:, None]})
    return path.read_bytes()


def everything_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def served(row: OODSet, server: FaultyServer, content: bytes, name: str = "LSUN.tar.gz", *, md5: bool = True) -> OODSet:
    """The row with a source on the server, which holds `content`."""
    server.content[f"/{name}"] = content
    return replace(row, source=server.address(f"/{name}"), md5=hashlib.md5(content).hexdigest() if md5 else None)
