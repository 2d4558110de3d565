"""ID data in class folders: images of your own, and what ImageNet-100 has in common with them."""

from pathlib import Path

import torch

from utils.data.id_records import IDSet
from utils.data.image_folder import Listing, abridged, list_classes, load_files, other_files_note
from utils.data.images import IDImages, ImageSet
from utils.data.places import children, is_folder, require_folder, shown
from utils.errors import UserError

# Names of the folders of a split. Where both are there, val is the test set here, as in ImageNet.
SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}


def read_folder(record: IDSet, root: Path, *, size: int, seed: int, **_: object) -> IDImages:
    """Read train/<class>/<image> and val/<class>/<image>, or <class>/<image>, split with `seed`.

    The folders of a split may have any of the names in SPLIT_NAMES, in any case; test is read where there is no val.
    Without a split of its own a folder gives a fifth of each class to the test set.

    Raises:
        UserError: another layout, one that may be meant in two ways, a class without images, a single class.
    """
    require_folder(root)
    split = split_folders(root)
    if split is not None:
        train, test, names = read_both(*split)
        sets = [_load_part("folder train", train, names, size), _load_part("folder test", test, names, size)]
        unread = [place for folder in (root, *split) for place in _files(folder)]
        unread += [place for place in _folders(root) if place not in split]
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
    return IDImages(sets[0], sets[1], names, (*sets[0].notes, *sets[1].notes, *notes))


def split_folders(root: Path) -> tuple[Path, Path] | None:
    """The folders of the training and of the test images in `root`; None where all its folders are classes.

    A class may be called train or test: it holds images, where the folder of a split holds the folders of classes.

    Raises:
        UserError: one of the two is not there, or there are two of one kind.
    """
    inside = _folders(root)
    train, val, test = ([place for place in inside if place.name.casefold() in names] for names in SPLIT_NAMES.values())
    strangers = len(inside) - len(train) - len(val) - len(test)
    test = val or test
    for places in (train, test):
        if len(places) > 1 and train and test:
            raise UserError(
                f"two folders may be meant by one part of the split: {', '.join(shown(p.name) for p in places)}\n"
                f"  looked at  : {shown(root)}\n  do         : move one of them away"
            )
    if train and test:
        return train[0], test[0]
    lone = next((place for place in (*train, *test) if _folders(place)), None)
    if lone is None and (strangers or not test):
        return None
    missing, looked_for = ("training", "train") if test else ("test", "val")
    raise UserError(
        f"no {missing} images found.\n  looked for : {shown(root)}/{looked_for}/<class>/<image>\n"
        f"  or         : pass {shown(lone or test[0])}, and a fifth of it becomes the test set"
    )


def split_rows(labels: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of the training and of the test set: a fifth of each class, at least one image, drawn with `seed`."""
    generator = torch.Generator().manual_seed(seed)
    in_test = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        rows = (labels == label).nonzero().squeeze(1)
        drawn = torch.randperm(len(rows), generator=generator)[: max(1, round(len(rows) / 5))]
        in_test[rows[drawn]] = True
    return (~in_test).nonzero().squeeze(1), in_test.nonzero().squeeze(1)


def read_both(train_folder: Path, test_folder: Path) -> tuple[dict[str, Listing], dict[str, Listing], tuple[str, ...]]:
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
    paths, labels = flat(classes, names)
    return load_files(name, paths, size, labels, notes=other_files_note(name, others_of(classes)))


def others_of(classes: dict[str, Listing]) -> list[Path]:
    return [path for listing in classes.values() for path in listing.others]


def _files(folder: Path) -> list[Path]:
    return [place for place in children(folder) if not place.name.startswith(".") and not is_folder(place)]


def _folders(folder: Path) -> list[Path]:
    return [place for place in children(folder) if not place.name.startswith(".") and is_folder(place)]


def flat(classes: dict[str, Listing], names: tuple[str, ...]) -> tuple[list[Path], torch.Tensor]:
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
