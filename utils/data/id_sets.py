"""In-distribution data sets: one function, load_id, and what training and evaluation must know about each set."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from utils.data import cifar, digits
from utils.data.class_folders import IMAGENET_100_FOLDER, channel_statistics, load_folder, load_imagenet_100
from utils.data.images import ImageSet, TensorImages
from utils.errors import UserError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
IMAGENET_SIZE = 224
FOLDER_SIZE = 64


@dataclass(frozen=True)
class IDData:
    """An ID data set, split, with the statistics and augmentation limits that go with it.

    mean and std are per channel of images scaled to 0..1; crop_scale is the share of the area that
    RandomResizedCrop keeps; notes are for the user, and scripts print them; official is false where the files are not
    the published ones, by their checksums or their numbers of images.
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
    official: bool = True


def load_id(
    name: str,
    root: str | Path | None = None,
    *,
    download: bool = False,
    image_size: int | None = None,
    limit_train: int | None = None,
    seed: int = 0,
) -> IDData:
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
    _refuse_image_size("digits", image_size, digits.SIZE)
    (train, train_labels), (test, test_labels) = digits.id_digits()
    train_set = TensorImages("digits train", train, train_labels)
    mean, std = channel_statistics(train_set)
    return IDData(
        name="digits",
        train=train_set,
        test=TensorImages("digits test", test, test_labels),
        class_names=tuple(str(digit) for digit in digits.ID_DIGITS),
        mean=mean,
        std=std,
        size=digits.SIZE,
        crop_scale=(0.5, 1.0),  # half of a digit can still be told; a fifth, as for CIFAR, cannot
        hflip=False,
        notes=("digits come with scikit-learn: --id-loc is not read",) if root is not None else (),
    )


def _load_cifar(name: str, root: Path | None, download: bool, image_size: int | None) -> IDData:
    _refuse_image_size(name, image_size, cifar.SIZE)
    root = root or cifar.CIFAR_FOLDERS[name]
    folder = cifar.find_cifar(name, [root])
    if folder is None and download:
        folder = cifar.download_cifar(name, root)
    if folder is None:
        raise cifar.missing_cifar(name, root)
    train, test = cifar.read_split(name, folder, "train"), cifar.read_split(name, folder, "test")
    class_names, other_files = cifar.read_class_names(name, folder)
    notes = cifar.file_notes(name, train, test, other_files=other_files)
    return IDData(
        name=name,
        train=TensorImages(f"{name} train", train.images, train.labels),
        test=TensorImages(f"{name} test", test.images, test.labels),
        class_names=class_names,
        mean=cifar.MEAN,
        std=cifar.STD,
        size=cifar.SIZE,
        crop_scale=(0.2, 1.0),
        hflip=True,
        notes=notes,
        official=not notes,
    )


def _load_cifar10(root: Path | None, download: bool, image_size: int | None, seed: int) -> IDData:
    return _load_cifar("CIFAR-10", root, download, image_size)


def _load_cifar100(root: Path | None, download: bool, image_size: int | None, seed: int) -> IDData:
    return _load_cifar("CIFAR-100", root, download, image_size)


def _load_imagenet_100(root: Path | None, download: bool, image_size: int | None, seed: int) -> IDData:
    _refuse_download("ImageNet-100", download)
    size = image_size or IMAGENET_SIZE
    found = load_imagenet_100(root or IMAGENET_100_FOLDER, size)
    return IDData(
        "ImageNet-100",
        found.train,
        found.test,
        found.class_names,
        IMAGENET_MEAN,
        IMAGENET_STD,
        size,
        crop_scale=(0.4, 1.0),
        hflip=True,
        notes=found.notes,
    )


def _load_own_folder(root: Path | None, download: bool, image_size: int | None, seed: int) -> IDData:
    _refuse_download("folder", download)
    if root is None:
        raise UserError("a folder of your own needs its path.\n  do         : pass --id-loc /path/to/folder")
    size = image_size or FOLDER_SIZE
    found = load_folder(root, size, seed)
    mean, std = channel_statistics(found.train)
    return IDData(
        "folder",
        found.train,
        found.test,
        found.class_names,
        mean,
        std,
        size,
        crop_scale=(0.2, 1.0),
        hflip=True,
        notes=found.notes,
    )


def _refuse_image_size(name: str, image_size: int | None, own_size: int) -> None:
    if image_size not in (None, own_size):
        raise UserError(f"{name} images are {own_size} x {own_size}; --image-size is for ImageNet-100 and folder")


def _refuse_download(name: str, download: bool) -> None:
    if download:
        raise UserError(f"{name} cannot be downloaded here; --download is for CIFAR-10 and CIFAR-100")


def _limited(data: IDData, limit: int, seed: int) -> IDData:
    classes = len(data.class_names)
    if limit < classes:
        raise UserError(
            f"a training set of {limit} images cannot hold all {classes} classes of {data.name}\n"
            f"  do         : allow at least {classes}"
        )
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


_LOADERS: dict[str, Callable[[Path | None, bool, int | None, int], IDData]] = {
    "digits": _load_digits,
    "CIFAR-10": _load_cifar10,
    "CIFAR-100": _load_cifar100,
    "ImageNet-100": _load_imagenet_100,
    "folder": _load_own_folder,
}
ID_NAMES = tuple(_LOADERS)
