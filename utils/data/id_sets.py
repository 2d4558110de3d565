"""In-distribution data sets: one function, load_id, and what training and evaluation are handed of a set."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

import torch

from utils.data.id_records import ID_SETS, IDSet, id_set
from utils.data.images import ImageSet
from utils.data.places import as_user_errors
from utils.errors import UserError

_STATISTICS_IMAGES = 2_000


@dataclass(frozen=True)
class IDData:
    """An ID data set, split, with the statistics and augmentation limits that go with it.

    mean and std are per channel of images scaled to 0..1; crop_scale is the share of the area that
    RandomResizedCrop keeps; notes are for the user, and scripts print them; official is false where the files are not
    the published ones, by their checksums, their numbers of images, or their classes.
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


@as_user_errors()
def load_id(
    name: str,
    root: str | Path | None = None,
    *,
    download: bool = False,
    image_size: int | None = None,
    limit_train: int | None = None,
    seed: int = 0,
) -> IDData:
    """Load an ID data set by name: one of ID_NAMES, in any usual spelling.

    Args:
        root: where it lies; None for the default place under datasets/.
        download: fetch a CIFAR that is missing.
        image_size: side in pixels for ImageNet-100 (224) and folder (64); the others are what they are.
        limit_train: keep only so many training images, drawn with `seed`, equally many of each class.
        seed: for limit_train, and for the split of a folder that has none.
    Raises:
        UserError: unknown name, or data that is missing or damaged.
    """
    record = id_set(name)
    _check(record, root, download, image_size)
    module, function = record.reader.split(":")
    read = getattr(import_module(module), function)
    size = image_size or record.size
    folder = Path(root or record.folder or "")
    train, test, class_names, notes = read(record, folder, size=size, seed=seed, download=download)
    mean, std = (record.mean, record.std) if record.mean else channel_statistics(train)
    official = record.own or not notes
    if root and not _on_disk(record):
        notes += (f"{record.name} come with scikit-learn: --id-loc is not read",)
    crop_scale, hflip = record.crop_scale, record.hflip
    data = IDData(record.name, train, test, class_names, mean, std, size, crop_scale, hflip, notes, official)
    return data if limit_train is None else limited(data, limit_train, seed)


def in_order_of(data: IDData, trained: Sequence[str], source: str) -> IDData:
    """The ID set with its classes numbered as the outputs of a network are.

    Args:
        trained: the network's class names; none where its file does not name them, and nothing can be compared.
        source: what says so, for the message.
    Raises:
        UserError: other classes, by their names; a note says so where only their order was another.
    """
    names = tuple(trained)
    if not names or names == data.class_names:
        return data
    if sorted(names) != sorted(data.class_names):
        raise UserError(
            f"the classes of {data.name} are not those that the network was trained on\n"
            f"  trained on : {', '.join(names)}   ({source})\n"
            f"  found      : {', '.join(data.class_names)}\n"
            "  do         : give the folders the names that they had in the training, or pass the right --id-loc"
        )
    number = torch.tensor([names.index(name) for name in data.class_names])
    note = f"{data.name}: its classes stand in another order than in the training; they are matched by name"
    train, test = (part.relabelled(number[part.labels]) for part in (data.train, data.test))
    return replace(data, train=train, test=test, class_names=names, notes=(*data.notes, note))


def channel_statistics(images: ImageSet) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel on a scale of 0..1, from at most 2,000 images spread evenly."""
    rows = torch.linspace(0, len(images) - 1, min(len(images), _STATISTICS_IMAGES)).round().long()
    count, total, squares = 0, torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for batch in images.subset(rows).batches(100, "cpu"):
        values = batch.double() / 255
        count += values.numel() // 3
        total += values.sum(dim=(0, 2, 3))
        squares += values.square().sum(dim=(0, 2, 3))
    mean = total / count
    # Images of one flat colour have no spread; one grey level keeps the division sane.
    std = (squares / count - mean.square()).clamp(min=0).sqrt().clamp(min=1 / 255)
    return tuple(mean.tolist()), tuple(std.tolist())


def balanced_rows(labels: torch.Tensor, count: int, seed: int) -> torch.Tensor:
    """`count` row numbers, ascending, drawn with `seed`; equally many of each class as far as there are enough."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    shuffled = labels[order]
    # rank: how many rows of the same class come before. Taking the lowest ranks takes from all classes in turn.
    one_hot = torch.nn.functional.one_hot(shuffled)
    rank = one_hot.cumsum(0).gather(1, shuffled[:, None]).squeeze(1)
    return order[rank.argsort(stable=True)[:count]].sort().values


def _check(record: IDSet, root: str | Path | None, download: bool, image_size: int | None) -> None:
    """Raise a UserError where an argument has no meaning for the set."""
    if image_size not in (None, record.size) and not record.resizable:
        sized = " and ".join(each.name for each in ID_SETS.values() if each.resizable)
        raise UserError(f"{record.name} images are {record.size} x {record.size}; --image-size is for {sized}")
    if download and not record.downloadable and _on_disk(record):
        fetched = " and ".join(each.name for each in ID_SETS.values() if each.downloadable)
        raise UserError(f"{record.name} cannot be downloaded here; --download is for {fetched}")
    if record.own and root is None:
        raise UserError(f"a {record.name} of your own needs its path.\n  do         : pass --id-loc /path/to/folder")


def _on_disk(record: IDSet) -> bool:
    return record.own or record.folder is not None


def limited(data: IDData, limit: int, seed: int) -> IDData:
    """The set with `limit` training images, drawn with `seed`, equally many of each class."""
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
