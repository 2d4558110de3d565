"""ID data in class folders: images of your own, and what ImageNet-100 has in common with them."""

from pathlib import Path

import torch

from utils.data.id_records import IDSet
from utils.data.image_folder import Listing, abridged, list_classes, load_files, other_files_note
from utils.data.images import IDImages, ImageSet
from utils.data.places import children, is_folder, require_folder, shown
from utils.errors import UserError

_TEST_FOLDERS = ("val", "test", "validation")


def read_folder(record: IDSet, root: Path, *, size: int, seed: int, **_: object) -> IDImages:
    """Read train/<class>/<image> and val/<class>/<image> (or test/), or <class>/<image>, split with `seed`.

    Without a split of its own a folder gives a fifth of each class to the test set.

    Raises:
        UserError: another layout, a class without images, a single class.
    """
    require_folder(root)
    inside = {place.name.casefold(): place for place in children(root) if is_folder(place)}
    test_folder = next((inside[name] for name in _TEST_FOLDERS if name in inside), None)
    if "train" in inside and test_folder is not None:
        train, test, names = read_both(inside["train"], test_folder)
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
    return IDImages(sets[0], sets[1], names, (*sets[0].notes, *sets[1].notes, *notes))


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
