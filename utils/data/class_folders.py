"""ID data in class folders: images of your own, and what ImageNet-100 has in common with them."""

from pathlib import Path

import torch

from utils.data.id_records import IDSet
from utils.data.image_folder import Listing, abridged, list_classes, load_files, other_files_note
from utils.data.images import ImageSet, Read
from utils.data.places import folders_in, is_folder, require_folder
from utils.errors import UserError, shown

# Names of the folders of a split. Where both are there, val is the test set here, as in ImageNet.
TRAIN_NAMES = ("train", "training")
VAL_NAMES = ("val", "valid", "validation", "dev")
TEST_NAMES = ("test", "testing")


def read_folder(record: IDSet, root: Path, *, size: int, seed: int, **_: object) -> Read:
    """Read train/<class>/<image> and val/<class>/<image>, or <class>/<image>, split with `seed`.

    The folders of a split may have any of the names above, in any case; test is read where there is no val.
    Without a split of its own a folder gives a fifth of each class to the test set.

    Raises:
        UserError: another layout, one that may be meant in two ways, a class without images, a single class.
    """
    require_folder(root)
    split = split_folders(root)
    if split:
        train_classes, test_classes = read_both(*split)
        names = tuple(train_classes)
        train = _loaded("folder train", train_classes, names, size)
        test = _loaded("folder test", test_classes, names, size)
        notes = (*train.notes, *test.notes)
        if untested := _without_images(names, test):
            notes += (f"folder: no image to test with in class {abridged(untested)}",)
    else:
        classes = list_classes(root)
        names = tuple(classes)
        whole = _loaded("folder", classes, names, size)
        train, test = (whole.subset(rows) for rows in split_rows(whole.labels, seed))
        train.name, test.name = "folder train", "folder test"
        notes = whole.notes
    _check_classes(root, names, train)
    unread = _not_in_class_folders(root, split)
    if unread:
        notes += (f"folder: not read, since in no class folder: {abridged([place.name for place in unread])}",)
    return train, test, names, notes


def split_folders(root: Path) -> tuple[Path, ...]:
    """The folders of the training and of the test images in `root`; () where all its folders are classes.

    A class may be called train or test: it holds images, where the folder of a split holds the folders of classes.

    Raises:
        UserError: one of the two is not there, or there are two of one kind.
    """
    inside = folders_in(root)
    train, val, test = (
        [place for place in inside if place.name.casefold() in names] for names in (TRAIN_NAMES, VAL_NAMES, TEST_NAMES)
    )
    has_classes = len(inside) > len(train) + len(val) + len(test)
    test = val or test
    if train and test:
        for places in (train, test):
            if len(places) > 1:
                raise UserError(
                    f"two folders may be meant by one part of the split: {', '.join(shown(p.name) for p in places)}\n"
                    f"  looked at  : {shown(root)}\n  do         : move one of them away"
                )
        return train[0], test[0]
    lone = next((place for place in (*train, *test) if folders_in(place)), None)
    if lone is None and (has_classes or not test):
        return ()
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


def read_both(train_folder: Path, test_folder: Path) -> tuple[dict[str, Listing], dict[str, Listing]]:
    """The classes of the two folders of a split. UserError: one to test is not trained."""
    train, test = list_classes(train_folder), list_classes(test_folder)
    unknown = sorted(set(test) - set(train))
    if unknown:
        raise UserError(
            f"classes to test that are not trained: {', '.join(unknown)}\n"
            f"  looked at  : {shown(test_folder)}\n"
            f"  and        : {shown(train_folder)}\n  do         : give both the same class folders"
        )
    return train, test


def flat(
    name: str, classes: dict[str, Listing], names: tuple[str, ...]
) -> tuple[list[Path], torch.Tensor, tuple[str, ...]]:
    """Files of all classes, their labels by the place in `names`, and a note on files that are no images."""
    paths, labels, others = [], [], []
    for each, listing in classes.items():
        paths += listing.paths
        labels += [names.index(each)] * len(listing.paths)
        others += listing.others
    return paths, torch.tensor(labels), other_files_note(name, others)


def _loaded(name: str, classes: dict[str, Listing], names: tuple[str, ...], size: int) -> ImageSet:
    paths, labels, notes = flat(name, classes, names)
    return load_files(name, paths, size, labels, notes=notes)


def _not_in_class_folders(root: Path, split: tuple[Path, ...]) -> list[Path]:
    """What stands where folders of classes, or those of a split, should."""
    found = [place for folder in (root, *split) for place in sorted(folder.iterdir()) if place.name[0] != "."]
    if split:
        return [place for place in found if place not in split and not (place.parent != root and is_folder(place))]
    return [place for place in found if not is_folder(place)]


def _check_classes(root: Path, names: tuple[str, ...], train: ImageSet) -> None:
    if len(names) < 2:
        raise UserError(
            f"a single class found: {names[0]}\n  looked at  : {shown(root)}\n"
            f"  do         : give at least two class folders"
        )
    if without := _without_images(names, train):
        raise UserError(
            f"no image to train on in class {', '.join(without)}: too few, or none that can be read\n"
            f"  looked at  : {shown(root)}\n"
            + "".join(f"  found      : {note}\n" for note in train.notes)
            + "  do         : add images, or remove the folder"
        )


def _without_images(names: tuple[str, ...], images: ImageSet) -> list[str]:
    counts = torch.bincount(images.labels, minlength=len(names)).tolist()
    return [name for name, count in zip(names, counts, strict=True) if count == 0]
