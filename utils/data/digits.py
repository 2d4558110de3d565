"""The digits that come with scikit-learn, as a small ID/OOD problem that needs no download.

8 x 8 grey images (UCI, Alpaydin & Kaynak 1998), resized to 32 x 32 RGB. Digits 0 to 5 are in-distribution, 6 to 9 are
held out. The last fifth of each class, in the file's order, is the test set, whatever the seed.
"""

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits

from utils.data.images import IDImages, TensorImages

ID_DIGITS = (0, 1, 2, 3, 4, 5)
HELD_OUT_DIGITS = (6, 7, 8, 9)
SIZE = 32


def read_digits(*_: object, **__: object) -> IDImages:
    """The ID set: nothing about it can be chosen."""
    (train, train_labels), (test, test_labels) = id_digits()
    return IDImages(
        TensorImages("digits train", train, train_labels),
        TensorImages("digits test", test, test_labels),
        tuple(str(digit) for digit in ID_DIGITS),
    )


def id_digits() -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """(images, labels) of the training and of the test set: (N, 3, 32, 32) uint8 and (N,) int64 of 0..5."""
    images, labels = _all_digits()
    in_test = np.zeros(len(labels), dtype=bool)
    for digit in ID_DIGITS:
        rows = np.flatnonzero(labels == digit)
        in_test[rows[-(len(rows) // 5) :]] = True
    known = np.isin(labels, ID_DIGITS)
    return _pick(images, labels, known & ~in_test), _pick(images, labels, known & in_test)


def held_out_digits() -> torch.Tensor:
    """All images of the digits 6 to 9: (N, 3, 32, 32) uint8."""
    images, labels = _all_digits()
    return torch.from_numpy(images[np.isin(labels, HELD_OUT_DIGITS)])


def _all_digits() -> tuple[np.ndarray, np.ndarray]:
    bunch = load_digits()
    grey = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    large = np.stack([_enlarged(image) for image in grey])
    return np.repeat(large[:, None], 3, axis=1), bunch.target


def _enlarged(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def _pick(images: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(images[rows]), torch.from_numpy(labels[rows].astype(np.int64))
