"""MNIST (LeCun et al. 1998), training and test images, from the official files, packed or not."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import torch

from utils.data.places import damaged, is_file
from utils.errors import one_line

FILES = ("train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz")
SIDE = 28
_HEADER = struct.Struct(">4I")
_MAGIC = 2051  # unsigned bytes in three dimensions
_LARGEST = _HEADER.size + 70_000 * SIDE * SIDE


def load_mnist(folder: Path) -> tuple[torch.Tensor, tuple[str, ...]]:
    """Training and then test images: (N, 3, 28, 28) uint8, three times the same grey; no notes.

    Args:
        folder: one that holds at least one of the two files.

    Raises:
        UserError: a file is damaged. FileNotFoundError: neither is there.
    """
    paths = []
    for packed in FILES:
        plain = packed.removesuffix(".gz")
        # Kaggle, and some unpackers, write a dot for the second dash.
        places = [folder / name for name in (packed, plain, plain.replace("-idx", ".idx"))]
        paths += [place for place in places if is_file(place)][:1]
    if not paths:
        raise FileNotFoundError(folder / FILES[0])
    grey = torch.from_numpy(np.concatenate([_read(path) for path in paths]))
    return grey[:, None].expand(-1, 3, -1, -1).contiguous(), ()


def _read(path: Path) -> np.ndarray:
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as stream:
            content = stream.read(_LARGEST + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise damaged(one_line(error), path, "MNIST") from error
    if len(content) < _HEADER.size:
        raise damaged("cut off", path, "MNIST")
    magic, count, *sides = _HEADER.unpack_from(content)
    if magic != _MAGIC or sides != [SIDE, SIDE] or len(content) != _HEADER.size + count * SIDE * SIDE:
        raise damaged("not the bytes of as many images of 28 x 28 as it says", path, "MNIST")
    return np.frombuffer(content, np.uint8, offset=_HEADER.size).reshape(count, SIDE, SIDE)
