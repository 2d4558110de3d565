"""Any number of image files in bounded memory: decoded by threads one batch ahead, broken ones named on the way."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from utils.data.decode import UnreadableImage, open_rgb, resize_center_crop


class Fault(NamedTuple):
    """A file that could not be decoded, and why."""

    path: Path
    reason: str


class Decoded(NamedTuple):
    """Images (B, 3, S, S) uint8 and the files they are from; `faults` are the files among them that gave none."""

    images: Tensor
    paths: tuple[Path, ...]
    faults: tuple[Fault, ...]


def decode_stream(paths: Sequence[Path], size: int, *, batch_size: int, threads: int) -> Iterator[Decoded]:
    """Yield the images of `paths` in order, after the test transform Resize(size) + CenterCrop(size).

    While a batch is in use the next one is decoded. A batch whose files are all broken holds no image.
    """
    pool = ThreadPoolExecutor(max(1, threads))
    chunks = [paths[start : start + batch_size] for start in range(0, len(paths), batch_size)]
    try:
        ahead: list[Future] = []
        for i, chunk in enumerate(chunks):
            current = ahead or [pool.submit(_decode, path, size) for path in chunk]
            ahead = [pool.submit(_decode, path, size) for path in chunks[i + 1]] if i + 1 < len(chunks) else []
            yield _collect(chunk, [future.result() for future in current], size)
    finally:
        pool.shutdown(cancel_futures=True)


def _decode(path: Path, size: int) -> np.ndarray | str:
    try:
        return resize_center_crop(open_rgb(path), size)
    except UnreadableImage as error:
        return str(error)


def _collect(paths: Sequence[Path], results: list[np.ndarray | str], size: int) -> Decoded:
    good = [(path, result) for path, result in zip(paths, results, strict=True) if not isinstance(result, str)]
    faults = [Fault(path, result) for path, result in zip(paths, results, strict=True) if isinstance(result, str)]
    images = np.stack([pixels for _, pixels in good]) if good else np.empty((0, 3, size, size), np.uint8)
    return Decoded(torch.from_numpy(images), tuple(path for path, _ in good), tuple(faults))
