"""SVHN test images (Netzer et al. 2011) from the MATLAB files, and the selection that CIDER's table uses."""

from pathlib import Path

import numpy as np
import torch
from scipy.io import loadmat, savemat

from utils.errors import UserError
from utils.files import atomic_write

SELECTED_FILE = "selected_test_32x32.mat"
FULL_FILE = "test_32x32.mat"
PER_DIGIT = 1_000
_ADVICE = "do         : delete it and get it again: python scripts/prepare_data.py --only SVHN"


def load_selected_svhn(folder: Path) -> tuple[torch.Tensor, tuple[str, ...]]:
    """The first 1,000 test images of each digit: (N, 3, 32, 32) uint8 and notes.

    Reads selected_test_32x32.mat; when only test_32x32.mat is there, makes the selection and writes it beside that.

    Raises:
        UserError: a file is damaged. FileNotFoundError: neither is there.
    """
    if (folder / SELECTED_FILE).is_file():
        images, _ = _read_mat(folder / SELECTED_FILE)
        return _channels_first(images), ()
    images, labels = _read_mat(folder / FULL_FILE)
    rows = select_rows(labels)
    images, labels = images[..., rows], labels[rows]
    try:
        with atomic_write(folder / SELECTED_FILE) as stream:
            savemat(stream, {"X": images, "y": labels[:, None]})
        note = f"SVHN: {SELECTED_FILE} made from {FULL_FILE}"
    except OSError as error:
        note = f"SVHN: {SELECTED_FILE} could not be written ({error.strerror}); the selection is made anew each time"
    return _channels_first(images), (note,)


def select_rows(labels: np.ndarray) -> np.ndarray:
    """Rows of the first 1,000 images of each digit, in the file's order. Labels are 1..10, and 10 is the digit 0."""
    return np.sort(np.concatenate([np.flatnonzero(labels % 10 == digit)[:PER_DIGIT] for digit in range(10)]))


def _read_mat(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        content = loadmat(path, variable_names=["X", "y"])
    except FileNotFoundError:
        raise
    # A damaged file makes the reader raise nearly anything (zlib.error, ValueError, TypeError, MemoryError, ...).
    except Exception as error:
        raise UserError(f"damaged file: {type(error).__name__}: {error}\n  file       : {path}\n  {_ADVICE}") from error
    images, labels = content.get("X"), content.get("y")
    fault = _fault(images, labels)
    if fault:
        raise UserError(f"damaged file: {fault}\n  file       : {path}\n  {_ADVICE}")
    return images, labels.ravel().astype(np.uint8)


def _fault(images: np.ndarray | None, labels: np.ndarray | None) -> str | None:
    if images is None or labels is None:
        return "no images under 'X' or no labels under 'y'"
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[:3] != (32, 32, 3):
        return f"images are {images.dtype} of shape {images.shape}, not uint8 of shape (32, 32, 3, N)"
    if labels.size != images.shape[3] or labels.size == 0:
        return f"{labels.size:,} labels for {images.shape[3]:,} images"
    if labels.dtype.kind not in "iuf" or labels.min() < 0 or labels.max() > 10:
        return "labels that are not within 1..10"
    return None


def _channels_first(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(images.transpose(3, 2, 0, 1)))
