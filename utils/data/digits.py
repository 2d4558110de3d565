"""The digits that come with scikit-learn, as a small ID/OOD problem that needs no download.

8 x 8 grey images (UCI, Alpaydin & Kaynak 1998), resized to 32 x 32 RGB. Digits 0 to 5 are in-distribution, 6 to 9 are
held out. The last fifth of each class, in the file's order, is the test set, whatever the seed.
"""

import numpy as np
import torch
from torch import Tensor

from utils.data.images import Read, TensorImages, resized

ID_DIGITS = (0, 1, 2, 3, 4, 5)
SIZE = 32


def read_digits(*_: object, **__: object) -> Read:
    """The ID set: nothing about it can be chosen."""
    train, test = id_digits()
    names = tuple(map(str, ID_DIGITS))
    return TensorImages("digits train", *train), TensorImages("digits test", *test), names, ()


def id_digits() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """(images, labels) of the training and of the test set: (N, 3, 32, 32) uint8 and (N,) int64 of 0..5."""
    images, labels = _all_digits()
    in_test = torch.zeros(len(labels), dtype=torch.bool)
    for digit in ID_DIGITS:
        rows = (labels == digit).nonzero().squeeze(1)
        in_test[rows[-(len(rows) // 5) :]] = True
    in_train = ~in_test & (labels <= ID_DIGITS[-1])
    return (images[in_train], labels[in_train]), (images[in_test], labels[in_test])


def held_out_digits() -> Tensor:
    """All images of the digits 6 to 9: (N, 3, 32, 32) uint8."""
    images, labels = _all_digits()
    return images[labels > ID_DIGITS[-1]]


def _all_digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits  # which takes a second, and other sets do without

    bunch = load_digits()
    grey = torch.from_numpy(np.rint(bunch.images * (255 / 16)).astype(np.uint8))
    return resized(grey[:, None].expand(-1, 3, -1, -1), SIZE), torch.from_numpy(bunch.target).long()
