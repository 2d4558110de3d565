"""SVHN test images (Netzer et al. 2011) from the MATLAB files, and the selection that CIDER's table uses."""

import hashlib
from pathlib import Path

import numpy as np
import torch

from utils.data.mat_file import MatError, read_arrays
from utils.data.ood_table import find_ood_set
from utils.data.places import damaged, is_file

SELECTED_FILE = "selected_test_32x32.mat"
FULL_FILE = "test_32x32.mat"
PER_DIGIT = 1_000
PUBLISHED_MD5 = find_ood_set("SVHN").md5  # of test_32x32.mat


def load_svhn(folder: Path, *, whole: bool = False) -> tuple[torch.Tensor, tuple[str, ...]]:
    """The first 1,000 test images of each digit, or all 26,032: (N, 3, 32, 32) uint8 and notes.

    They are taken from test_32x32.mat; the selection is read from selected_test_32x32.mat where that is not there.

    Raises:
        UserError: a file is damaged. FileNotFoundError: it is not there.
    """
    if not whole and is_file(folder / SELECTED_FILE) and not is_file(folder / FULL_FILE):
        images = _read_mat(folder / SELECTED_FILE)[0]
        return images, (f"SVHN: {SELECTED_FILE} is used as it is: no checksum is published to compare it with",)
    images, labels, notes = _read_mat(folder / FULL_FILE)
    if whole:
        return images, notes
    # The labels are 1..10, and 10 is the digit 0.
    rows = np.concatenate([np.flatnonzero(labels % 10 == digit)[:PER_DIGIT] for digit in range(10)])
    return images[np.sort(rows)], notes


def _read_mat(path: Path) -> tuple[torch.Tensor, np.ndarray, tuple[str, ...]]:
    """Images (N, 3, 32, 32) uint8 and labels (N,) of a file, and a note where it is not the published one."""
    raw = path.read_bytes()
    try:
        content = read_arrays(raw)
        fault = _fault(content.get("X"), content.get("y"))
    except MatError as error:
        fault = str(error)
    if fault:
        raise damaged(fault, path, "SVHN")
    md5 = hashlib.md5(raw, usedforsecurity=False).hexdigest()
    notes = () if md5 == PUBLISHED_MD5 else (f"SVHN: {path.name} is not the published one (md5 {md5})",)
    images = torch.from_numpy(np.ascontiguousarray(content["X"].transpose(3, 2, 0, 1)))
    return images, content["y"].ravel().astype(np.uint8), notes


def _fault(images: np.ndarray | None, labels: np.ndarray | None) -> str | None:
    if images is None or labels is None:
        return "no array of images under 'X' or none of labels under 'y'"
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[:3] != (32, 32, 3):
        return f"images are {images.dtype} of shape {images.shape}, not uint8 of shape (32, 32, 3, N)"
    if labels.size != images.shape[3] or labels.size == 0:
        return f"{labels.size:,} labels for {images.shape[3]:,} images"
    if not np.isin(labels, range(11)).all():
        return "labels that are not within 1..10"
    return None
