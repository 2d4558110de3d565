"""ID data in class folders: your own images, and ImageNet-100 in its official layout."""

from dataclasses import dataclass
from pathlib import Path

import torch

from utils.data.image_folder import Listing, abridged, list_classes, load_files, other_files_note
from utils.data.images import FileImages, ImageSet
from utils.data.places import children, is_folder, require_folder, shown
from utils.errors import UserError
from utils.files import REPOSITORY
from utils.prepare.imagenet_source import PUBLIC_LIST, read_class_list

IMAGENET_100_FOLDER = REPOSITORY / "datasets/ImageNet100"
_TEST_FOLDERS = ("val", "test", "validation")
_STATISTICS_IMAGES = 2_000


@dataclass(frozen=True)
class FolderData:
    """A training and a test set with labels, and the names of the classes."""

    train: ImageSet
    test: ImageSet
    class_names: tuple[str, ...]
    notes: tuple[str, ...]


def load_folder(root: Path, size: int, seed: int) -> FolderData:
    """Read train/<class>/<image> and val/<class>/<image> (or test/), or <class>/<image>, split with `seed`.

    Without a split of its own a folder gives a fifth of each class to the test set.

    Raises:
        UserError: another layout, a class without images, a single class.
    """
    require_folder(root)
    inside = {place.name.casefold(): place for place in children(root) if is_folder(place)}
    test_folder = next((inside[name] for name in _TEST_FOLDERS if name in inside), None)
    if "train" in inside and test_folder is not None:
        train, test, names = _read_both(inside["train"], test_folder)
        sets = [_load_part("folder train", train, names, size), _load_part("folder test", test, names, size)]
        read = [inside["train"], test_folder]
        unread = [place for folder in (root, *read) for place in _files(folder)]
        unread += [place for place in inside.values() if place not in read]
    elif set(inside) == {"train"}:
        raise UserError(
            f"no test images found.\n  looked for : {shown(root)}/val/<class>/<image>\n"
            f"  or         : pass {shown(inside['train'])}, and a fifth of it becomes the test set"
        )
    else:
        classes = list_classes(root)
        names = tuple(classes)
        whole = _load_part("folder", classes, names, size)
        sets = [whole.subset(rows) for rows in split_rows(whole.labels, seed)]
        sets[0].name, sets[1].name = "folder train", "folder test"
        sets[1].notes = ()
        unread = _files(root)
    _check_classes(root, names, sets[0])
    notes = (f"folder: not read, since in no class folder: {abridged([p.name for p in unread])}",) if unread else ()
    return FolderData(sets[0], sets[1], names, (*sets[0].notes, *sets[1].notes, *notes))


def load_imagenet_100(root: Path, size: int) -> FolderData:
    """Read train/<wnid>/<image> and val/<wnid>/<image>. The files are not opened before they are needed.

    Raises:
        UserError: missing, or train and val do not have the same classes.
    """
    for part in ("train", "val"):
        if not is_folder(root / part):
            raise UserError(
                f"ImageNet-100 not found.\n  looked for : {shown(root / part)}/<wnid>/<image>\n"
                "  get it by  : python scripts/make_imagenet100.py /path/to/ImageNet\n"
                "  or         : pass --id-loc /path/to/folder"
            )
    train, test, names = _read_both(root / "train", root / "val")
    if set(test) != set(names):
        raise UserError(
            f"ImageNet-100: val/ lacks classes of train/: {', '.join(sorted(set(names) - set(test)))}\n"
            f"  looked at  : {shown(root)}"
        )
    sets, notes = [], []
    for part, listing in (("train", train), ("test", test)):
        paths, labels = _flat(listing, names)
        notes += other_files_note(f"ImageNet-100 {part}", _others(listing))
        sets.append(FileImages(f"ImageNet-100 {part}", paths, size, labels))
    public = read_class_list(PUBLIC_LIST)
    if len(names) != len(public):
        notes.append(f"ImageNet-100: {len(names)} classes in place of {len(public)}")
    elif strange := sorted(set(names) - set(public)):
        notes.append(
            f"ImageNet-100: {len(strange)} classes are not of the public list, so no published figures compare"
        )
    return FolderData(sets[0], sets[1], names, tuple(notes))


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


def split_rows(labels: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of the training and of the test set: a fifth of each class, at least one image, drawn with `seed`."""
    generator = torch.Generator().manual_seed(seed)
    in_test = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        rows = (labels == label).nonzero().squeeze(1)
        drawn = torch.randperm(len(rows), generator=generator)[: max(1, round(len(rows) / 5))]
        in_test[rows[drawn]] = True
    return (~in_test).nonzero().squeeze(1), in_test.nonzero().squeeze(1)


def _read_both(train_folder: Path, test_folder: Path) -> tuple[dict[str, Listing], dict[str, Listing], tuple[str, ...]]:
    train, test = list_classes(train_folder), list_classes(test_folder)
    unknown = sorted(set(test) - set(train))
    if unknown:
        raise UserError(
            f"classes to test that are not trained: {', '.join(unknown)}\n"
            f"  looked at  : {shown(test_folder)}\n"
            f"  and        : {shown(train_folder)}\n  do         : give both the same class folders"
        )
    return train, test, tuple(train)


def _load_part(name: str, classes: dict[str, Listing], names: tuple[str, ...], size: int) -> ImageSet:
    paths, labels = _flat(classes, names)
    return load_files(name, paths, size, labels, notes=other_files_note(name, _others(classes)))


def _others(classes: dict[str, Listing]) -> list[Path]:
    return [path for listing in classes.values() for path in listing.others]


def _files(folder: Path) -> list[Path]:
    return [place for place in children(folder) if not place.name.startswith(".") and not is_folder(place)]


def _flat(classes: dict[str, Listing], names: tuple[str, ...]) -> tuple[list[Path], torch.Tensor]:
    paths, labels = [], []
    for name, listing in classes.items():
        paths += listing.paths
        labels += [names.index(name)] * len(listing.paths)
    return paths, torch.tensor(labels)


def _check_classes(root: Path, names: tuple[str, ...], train: ImageSet) -> None:
    if len(names) < 2:
        raise UserError(
            f"a single class found: {names[0]}\n  looked at  : {shown(root)}\n"
            f"  do         : give at least two class folders"
        )
    counts = torch.bincount(train.labels, minlength=len(names)).tolist()
    without = [name for name, count in zip(names, counts, strict=True) if count == 0]
    if without:
        raise UserError(
            f"no image to train on in class {', '.join(without)}: too few, or none that can be read\n"
            f"  looked at  : {shown(root)}\n"
            + "".join(f"  found      : {note}\n" for note in train.notes)
            + "  do         : add images, or remove the folder"
        )
