"""ImageNet as its owner has it: the class folders of train and val, lists of classes, and a val that is not sorted."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from utils.data.image_folder import IMAGE_SUFFIXES, abridged, list_images
from utils.data.imagenet import WNID, rows_of
from utils.data.places import children, is_file, is_folder, require_folder, shown
from utils.errors import UserError, one_line

PARTS = ("train", "val")
# Below the folder that a user names: as torchvision has it, and as Kaggle's archive unpacks.
_ROOTS = ("", "Data/CLS-LOC", "ILSVRC/Data/CLS-LOC")

Images = Mapping[str, Path]  # name below the class folder -> file


@dataclass(frozen=True)
class ImageNetPart:
    """train or val of ImageNet.

    Attributes:
        sorted_by: class -> its files, where they all lie in one folder; None where each class has a folder.
    """

    folder: Path
    sorted_by: Mapping[str, Images] | None = None

    def class_names(self) -> set[str]:
        """All classes that are there."""
        if self.sorted_by is not None:
            return set(self.sorted_by)
        return {place.name for place in children(self.folder) if WNID.fullmatch(place.name) and is_folder(place)}

    def images(self, name: str) -> Images:
        """Files of one class, by their names below the class folder."""
        if self.sorted_by is not None:
            return self.sorted_by[name]
        return images_below(self.folder / name)


def images_below(folder: Path) -> Images:
    """Every image below a folder, by its name from there."""
    return {path.relative_to(folder).as_posix(): path for path in list_images(folder).paths}


def find_imagenet(source: Path, val_labels: Path | None) -> dict[str, ImageNetPart]:
    """Both parts of ImageNet below `source`.

    Args:
        val_labels: a table of file name and class a line, for a val folder that is not sorted into classes.
    Raises:
        UserError: not there, or val not sorted and no table given.
    """
    require_folder(source)
    places = [source / root for root in _ROOTS]
    root = next((place for place in places if all(is_folder(place / part) for part in PARTS)), None)
    if root is None:
        raise UserError(
            f"ImageNet not found.\n  looked for : {shown(source)}/train/<wnid>/ and {shown(source)}/val/<wnid>/\n"
            "  get it by  : registering at https://image-net.org (ILSVRC 2012), and unpacking it there"
        )
    parts = {part: ImageNetPart(root / part) for part in PARTS}
    if not parts["train"].class_names():
        raise UserError(
            f"no class folders found.\n  looked for : {shown(root)}/train/<wnid>/, such as n01440764\n"
            "  do         : unpack the archive of each class into a folder of its name"
        )
    if not parts["val"].class_names():
        parts["val"] = ImageNetPart(root / "val", _sorted_val(root / "val", val_labels))
    return parts


def _sorted_val(folder: Path, val_labels: Path | None) -> dict[str, Images]:
    if val_labels is None:
        raise UserError(
            f"val is not sorted into classes.\n  looked for : {shown(folder)}/<wnid>/<image>\n"
            "  do         : pass --val-labels FILE, a table of image and class: LOC_val_solution.csv of Kaggle's "
            "archive, ILSVRC2012_validation_ground_truth.txt of the development kit, or valprep.sh\n"
            "  or         : let torchvision.datasets.ImageNet(root, split='val') sort it, which needs "
            "ILSVRC2012_devkit_t12.tar.gz beside the archive of val"
        )
    labels = read_val_labels(val_labels)
    found: dict[str, dict[str, Path]] = {}
    unknown = []
    for path in children(folder):
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
            if path.stem in labels:
                found.setdefault(labels[path.stem], {})[path.name] = path
            else:
                unknown.append(path.name)
    if unknown or not found:
        fault = f"{len(unknown):,} images are not in it: {abridged(unknown)}" if unknown else "val holds no images"
        raise UserError(f"{fault}\n  table      : {shown(val_labels)}\n  looked at  : {shown(folder)}")
    return found


def read_val_labels(path: Path) -> dict[str, str]:
    """Image, without its suffix -> class.

    Args:
        path: a table whose first two columns are the image and, at the beginning of the second, the class, with or
            without a heading (Kaggle's LOC_val_solution.csv); the script valprep.sh, which moves each image into its
            class; or ILSVRC2012_validation_ground_truth.txt of the development kit, beside its meta.mat.
    Raises:
        UserError: it cannot be read, or a line is not of that kind.
    """
    labels = {}
    numbers = []
    for number, words in rows_of(path, "the table of val"):
        if words[0] == "mkdir":
            continue
        words = words[words[0] == "mv" :]
        if len(words) > 1 and WNID.fullmatch(words[1].rstrip("/")):
            labels[Path(words[0]).stem] = words[1].rstrip("/")
        elif len(words) == 1 and words[0].isdecimal() and not labels:
            numbers.append(int(words[0]))
        elif number > 1:
            raise UserError(
                f"not a line of image and class: {shown(' '.join(words)[:80])}\n"
                f"  looked at  : {shown(path)}, line {number}"
            )
    if not numbers:
        return labels
    names = _class_numbers(path.with_name("meta.mat"))
    if labels or not set(numbers) <= set(names):
        raise UserError(f"not one class number of 1 to {len(names):,} a line\n  looked at  : {shown(path)}")
    return {f"ILSVRC2012_val_{row:08}": names[number] for row, number in enumerate(numbers, 1)}


def _class_numbers(path: Path) -> dict[int, str]:
    """ILSVRC2012_ID -> class, of the development kit's table of synsets; those with children are no classes."""
    if not is_file(path):
        raise UserError(
            f"class numbers need the development kit's table of classes.\n  looked for : {shown(path)}\n"
            "  do         : leave both files in data/ of ILSVRC2012_devkit_t12, as they were unpacked"
        )
    try:
        synsets = np.atleast_1d(loadmat(path, squeeze_me=True)["synsets"])
        leaves = synsets[synsets["num_children"] == 0]
        return dict(zip(map(int, leaves["ILSVRC2012_ID"]), map(str, leaves["WNID"]), strict=True))
    except Exception as error:  # scipy says nowhere what it raises for bytes that are no such file
        raise UserError(
            f"not the development kit's meta.mat: {one_line(error)}\n  file       : {shown(path)}"
        ) from error
