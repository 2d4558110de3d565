"""Ordered sets of square RGB images, ID and OOD alike: in memory (TensorImages) or on disk (FileImages)."""

import copy
import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from utils.data.decode import UnreadableImage, open_rgb, resize_center_crop
from utils.data.file_batches import FileBatches
from utils.data.places import as_user_errors
from utils.errors import UserError, shown
from utils.files import file_sha256

TEST_TRANSFORM = "resize-centercrop-bilinear"


class ImageSet(ABC):
    """Images in a fixed order, each (3, S, S) uint8 after the test transform Resize(S) + CenterCrop(S).

    Attributes:
        name: as shown in tables.
        size: S, pixels of a side.
        labels: (N,) int64, or None.
        notes: what a user should know about this set (skipped files, other checksums); scripts print them.
        official_complete: this is a whole benchmark set, so it may enter the official mean.
    """

    _kind: str  # of the bytes in the fingerprint

    def __init__(
        self,
        name: str,
        size: int,
        labels: torch.Tensor | None,
        notes: Sequence[str] = (),
        official_complete: bool = False,
    ) -> None:
        # Called once the images are there, so that they can be counted.
        if labels is not None:
            labels = torch.as_tensor(labels, dtype=torch.int64)
            if labels.shape != (len(self),):
                raise ValueError(f"{name}: labels of shape {tuple(labels.shape)} for {len(self)} images")
        self.name = name
        self.size = size
        self.labels = labels
        self.notes = tuple(notes)
        self.official_complete = official_complete

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def batches(self, batch_size: int, device: torch.device | str, workers: int = 0) -> Iterator[torch.Tensor]:
        """Yield (B, 3, S, S) uint8 on `device`, in order; the last batch may be smaller."""

    @abstractmethod
    def _content(self, indices: torch.Tensor) -> dict:
        """The attributes that hold the images, for those at `indices`."""

    @abstractmethod
    def _bytes(self) -> Iterator[bytes | memoryview]:
        """What tells the images from others."""

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of pixels or files, labels and transform. UserError: a file cannot be read."""
        labelled = self.labels is not None
        digest = hashlib.sha256(f"{self._kind} {TEST_TRANSFORM} {self.size} {len(self)} {labelled};".encode())
        if labelled:
            digest.update(self.labels.cpu().numpy().tobytes())
        with as_user_errors():
            for piece in self._bytes():
                digest.update(piece)
        return digest.hexdigest()

    def subset(self, indices: torch.Tensor | np.ndarray | Sequence[int]) -> "ImageSet":
        """The images at `indices`, in that order, as a set of the same kind and name."""
        indices = torch.as_tensor(indices, dtype=torch.int64)
        return self._with(
            labels=None if self.labels is None else self.labels[indices],
            official_complete=self.official_complete and len(indices) >= len(self),
            **self._content(indices),
        )

    def relabelled(self, labels: torch.Tensor) -> "ImageSet":
        """The same images with other labels, (N,) int64."""
        return self._with(labels=labels)

    def _with(self, **changed: object) -> "ImageSet":
        found = copy.copy(self)
        found.__dict__.pop("fingerprint", None)
        found.__dict__.update(changed)
        return found


class TensorImages(ImageSet):
    """Images that lie in memory: `images` is (N, 3, S, S) uint8.

    Raises:
        ValueError: another type or shape, or as many labels as there are not images.
    """

    _kind = "pixels"

    def __init__(self, name: str, images: torch.Tensor, labels: torch.Tensor | None = None, **facts: Any) -> None:
        square_rgb = images.ndim == 4 and images.shape[1] == 3 and images.shape[2] == images.shape[3]
        if images.dtype != torch.uint8 or not square_rgb:
            raise ValueError(f"{name}: expected (N, 3, S, S) uint8, got {tuple(images.shape)} {images.dtype}")
        self.images = images.contiguous()
        super().__init__(name, images.shape[-1], labels, **facts)

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, batch_size: int, device: torch.device | str, workers: int = 0) -> Iterator[torch.Tensor]:
        """See ImageSet; `workers` has nothing to do here, since nothing is decoded."""
        for start in range(0, len(self), batch_size):
            yield self.images[start : start + batch_size].to(device, non_blocking=True)

    def _content(self, indices: torch.Tensor) -> dict:
        return {"images": self.images[indices]}

    def _bytes(self) -> Iterator[memoryview]:
        yield self.images.cpu().numpy().data


class FileImages(ImageSet):
    """Images that are decoded as they come, by the workers of a DataLoader, since together they do not fit in memory.

    The fingerprint reads every file once: a path, a size or a date would not tell one content from another.
    """

    _kind = "files turned by EXIF"

    def __init__(
        self, name: str, paths: Sequence[str | Path], size: int, labels: torch.Tensor | None = None, **facts: Any
    ) -> None:
        self.paths = tuple(Path(path) for path in paths)
        super().__init__(name, size, labels, **facts)

    def __len__(self) -> int:
        return len(self.paths)

    def batches(self, batch_size: int, device: torch.device | str, workers: int = 0) -> Iterator[torch.Tensor]:
        """See ImageSet.

        Raises:
            UserError: a file cannot be decoded; it is named.
        """
        files = FileBatches(partial(_decoded, size=self.size), workers=workers, device=torch.device(device))
        yield from files.read([self.paths[row : row + batch_size] for row in range(0, len(self), batch_size)])

    def _content(self, indices: torch.Tensor) -> dict:
        return {"paths": tuple(self.paths[index] for index in indices.tolist())}

    def _bytes(self) -> Iterator[bytes]:
        with ThreadPoolExecutor(decoding_threads()) as pool:
            yield from map(bytes.fromhex, pool.map(file_sha256, self.paths))


# What the reader of an ID set gives: training and test images with labels, the names of the classes, notes.
Read = tuple[ImageSet, ImageSet, tuple[str, ...], tuple[str, ...]]


def read_image(path: str | Path) -> Image.Image:
    """RGB image of a file that a set has listed; a UserError that names it when it cannot be decoded."""
    try:
        return open_rgb(path)
    except UnreadableImage as error:
        raise UserError(
            f"an image cannot be read: {error}\n  file       : {shown(path)}\n"
            f"  do         : replace or remove it, and start again"
        ) from error


def resized(images: torch.Tensor, size: int) -> torch.Tensor:
    """(N, 3, S, S) uint8 as (N, 3, size, size), bilinear as in the test transform; unchanged when S is size."""
    if images.shape[-1] == size:
        return images
    rows = images.permute(0, 2, 3, 1).numpy()
    return torch.stack([torch.from_numpy(resize_center_crop(Image.fromarray(row), size)) for row in rows])


def decoding_threads() -> int:
    """Threads for decoding and hashing files; Pillow and hashlib let other threads run meanwhile."""
    return min(16, os.cpu_count() or 1)


def _decoded(path: Path, size: int) -> torch.Tensor:
    return torch.from_numpy(resize_center_crop(read_image(path), size))
