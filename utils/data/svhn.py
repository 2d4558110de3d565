"""SVHN test images (Netzer et al. 2011) from the MATLAB files, and the selection that CIDER's table uses."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from scipy.io import savemat

from utils.data.mat_file import MatError, read_arrays
from utils.data.places import cannot_read, is_file, shown
from utils.errors import UserError
from utils.files import atomic_write, typed

SELECTED_FILE = "selected_test_32x32.mat"
FULL_FILE = "test_32x32.mat"
PER_DIGIT = 1_000
PUBLISHED_MD5 = "eb5a983be6a315427106f1b164d9cef3"  # of test_32x32.mat


def load_selected_svhn(folder: Path) -> tuple[torch.Tensor, tuple[str, ...]]:
    """The first 1,000 test images of each digit: (N, 3, 32, 32) uint8 and notes.

    Reads selected_test_32x32.mat; when only test_32x32.mat is there, makes the selection and writes it beside that,
    with a checksum of its content and that of the file it is from. Notes say where one of them is missing or another.

    Raises:
        UserError: a file is damaged. FileNotFoundError: neither is there.
    """
    if is_file(folder / SELECTED_FILE):
        content = _read_mat(folder / SELECTED_FILE)
        return _channels_first(content["X"]), _selection_notes(content, folder / SELECTED_FILE)
    content = _read_mat(folder / FULL_FILE)
    rows = select_rows(content["y"])
    images, labels = content["X"][..., rows], content["y"][rows]
    notes = _source_notes(content["md5"])
    try:
        with atomic_write(folder / SELECTED_FILE) as stream:
            savemat(
                stream,
                {
                    "X": images,
                    "y": labels[:, None],
                    "made_from": _as_bytes(content["md5"]),
                    "sha256": _as_bytes(_digest(images, labels, content["md5"])),
                },
            )
        note = f"SVHN: {SELECTED_FILE} made from {FULL_FILE}"
    except OSError as error:
        note = f"SVHN: {SELECTED_FILE} could not be written ({error.strerror}); the selection is made anew each time"
    return _channels_first(images), (note, *notes)


def load_full_svhn(folder: Path) -> tuple[torch.Tensor, tuple[str, ...]]:
    """All test images: (26,032, 3, 32, 32) uint8 in the published file, and notes. Errors as `load_selected_svhn`."""
    content = _read_mat(folder / FULL_FILE)
    return _channels_first(content["X"]), _source_notes(content["md5"])


def selected_count(folder: Path) -> int:
    """How many images selected_test_32x32.mat holds. UserError: damaged. FileNotFoundError: not there."""
    return len(_read_mat(folder / SELECTED_FILE)["y"])


def select_rows(labels: np.ndarray) -> np.ndarray:
    """Rows of the first 1,000 images of each digit, in the file's order. Labels are 1..10, and 10 is the digit 0."""
    return np.sort(np.concatenate([np.flatnonzero(labels % 10 == digit)[:PER_DIGIT] for digit in range(10)]))


def _selection_notes(content: dict, path: Path) -> tuple[str, ...]:
    if "sha256" not in content or "made_from" not in content:
        return (f"SVHN: {SELECTED_FILE} holds no checksum, since it was made elsewhere; it is used as it is",)
    made_from = _as_text(content["made_from"])
    if _as_text(content["sha256"]) != _digest(content["X"], content["y"], made_from):
        raise UserError(
            f"damaged file: its content has another checksum than when it was written\n"
            f"  file       : {shown(path)}\n  {_advice()}"
        )
    return _source_notes(made_from)


def _as_bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("latin1"), dtype=np.uint8)


def _as_text(array: np.ndarray) -> str:
    return array.tobytes().decode("latin1")


def _source_notes(md5: str) -> tuple[str, ...]:
    return () if md5 == PUBLISHED_MD5 else (f"SVHN: from a {FULL_FILE} that is not the published one (md5 {md5})",)


def _digest(images: np.ndarray, labels: np.ndarray, made_from: str) -> str:
    digest = hashlib.sha256(f"{images.shape} {made_from} ".encode())
    # Files of MATLAB are in Fortran order: transposed, nothing is copied.
    digest.update(np.ascontiguousarray(images.T))
    digest.update(labels)
    return digest.hexdigest()


def _read_mat(path: Path) -> dict:
    """X (32, 32, 3, N) uint8 and y (N,) uint8 of a file, its md5, and the checksums that it may hold."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise cannot_read(error, path) from error
    try:
        content = read_arrays(raw)
        fault = _fault(content.get("X"), content.get("y"))
    except MatError as error:
        fault = str(error)
    if fault:
        raise UserError(f"damaged file: {fault}\n  file       : {shown(path)}\n  {_advice()}")
    md5 = hashlib.md5(raw, usedforsecurity=False).hexdigest()
    return {**content, "y": content["y"].ravel().astype(np.uint8), "md5": md5}


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


def _channels_first(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(images.transpose(3, 2, 0, 1)))


def _advice() -> str:
    return f"do         : delete it and get it again: {typed('scripts/prepare_data.py')} --only SVHN"
