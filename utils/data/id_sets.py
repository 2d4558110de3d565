"""In-distribution data sets: one function, load_id, and what training and evaluation must know about each set."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from utils.data import digits
from utils.data.images import ImageSet, TensorImages
from utils.errors import UserError


@dataclass(frozen=True)
class IDData:
    """An ID data set, split, with the statistics and augmentation limits that go with it.

    mean and std are per channel of images scaled to 0..1; crop_scale is the share of the area that
    RandomResizedCrop keeps; notes are for the user, and scripts print them.
    """

    name: str
    train: ImageSet
    test: ImageSet
    class_names: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    size: int
    crop_scale: tuple[float, float]
    hflip: bool
    notes: tuple[str, ...] = ()


def load_id(name: str, root: str | Path | None = None, *, download: bool = False, image_size: int | None = None,
            limit_train: int | None = None, seed: int = 0) -> IDData:
    """Load an ID data set by name: one of ID_NAMES, in any case.

    Args:
        root: where it lies; None for the default place under datasets/.
        download: fetch a CIFAR that is missing.
        image_size: side in pixels for ImageNet-100 (224) and folder (64); the others are what they are.
        limit_train: keep only so many training images, drawn with `seed`, equally many of each class.
        seed: for limit_train, and for the split of a folder that has none.
    Raises:
        UserError: unknown name, or data that is missing or damaged.
    """
    known = {key.lower(): key for key in _LOADERS}
    if name.lower() not in known:
        raise UserError(f"unknown ID data set: {name}\n  known      : {', '.join(ID_NAMES)}")
    name = known[name.lower()]
    data = _LOADERS[name](None if root is None else Path(root), download, image_size, seed)
    return data if limit_train is None else _limited(data, limit_train, seed)


def _load_digits(root: Path | None, download: bool, image_size: int | None, seed: int) -> IDData:
    (train, train_labels), (test, test_labels) = digits.id_digits()
    scaled = train.double() / 255
    return IDData(
        name="digits",
        train=TensorImages("digits train", train, train_labels),
        test=TensorImages("digits test", test, test_labels),
        class_names=tuple(str(digit) for digit in digits.ID_DIGITS),
        mean=tuple(scaled.mean(dim=(0, 2, 3)).tolist()),
        std=tuple(scaled.std(dim=(0, 2, 3)).tolist()),
        size=digits.SIZE,
        crop_scale=(0.5, 1.0),
        hflip=False,
    )


def _limited(data: IDData, limit: int, seed: int) -> IDData:
    classes = len(data.class_names)
    if limit < classes:
        raise UserError(f"a training set of {limit} images cannot hold all {classes} classes of {data.name}\n"
                        f"  do         : allow at least {classes}")
    if limit >= len(data.train):
        return replace(data, notes=(*data.notes, f"{data.name} has {len(data.train):,} training images: all are used"))
    rows = balanced_rows(data.train.labels, limit, seed)
    return replace(data, train=data.train.subset(rows))


def balanced_rows(labels: torch.Tensor, count: int, seed: int) -> torch.Tensor:
    """`count` row numbers, ascending, drawn with `seed`; equally many of each class as far as there are enough."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    shuffled = labels[order]
    # rank: how many rows of the same class come before. Taking the lowest ranks takes from all classes in turn.
    one_hot = torch.nn.functional.one_hot(shuffled)
    rank = one_hot.cumsum(0).gather(1, shuffled[:, None]).squeeze(1)
    return order[rank.argsort(stable=True)[:count]].sort().values


_LOADERS: dict[str, Callable[[Path | None, bool, int | None, int], IDData]] = {"digits": _load_digits}
ID_NAMES = tuple(_LOADERS)
