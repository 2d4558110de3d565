"""ImageNet as its owner has it: the class folders of train and val, lists of classes, and a val that is not sorted."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from utils.data.image_folder import IMAGE_SUFFIXES, abridged, list_images
from utils.data.places import children, is_folder, require_folder, shown
from utils.errors import UserError

# The classes of deeplearning-wisc/MCM, data/ImageNet100/class_list.txt, which CIDER's checkpoint was trained on.
PUBLIC_LIST = Path(__file__).with_name("imagenet100_wnids.txt")
PARTS = ("train", "val")
_WNID = re.compile(r"n\d{8}")
# Below the folder that a user names: as torchvision has it, and as Kaggle's archive unpacks.
_ROOTS = ("", "Data/CLS-LOC", "ILSVRC/Data/CLS-LOC")

Images = Mapping[str, Path]  # name below the class folder -> file


def read_class_list(path: Path) -> tuple[str, ...]:
    """The WordNet ids of a file with one a line; empty lines and lines that begin with # do not count.

    Raises:
        UserError: no such file, a line that is no WordNet id, a class twice, fewer than two.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the list of classes cannot be read: {error}\n  looked for : {shown(path)}") from error
    names: list[str] = []
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        if not _WNID.fullmatch(line) or line in names:
            fault = "stands there twice" if line in names else "is no WordNet id such as n01440764"
            raise UserError(f"{shown(line)} {fault}\n  looked at  : {shown(path)}, line {number}")
        names.append(line)
    if len(names) < 2:
        raise UserError(f"a subset needs two classes or more, found {len(names)}\n  looked at  : {shown(path)}")
    return tuple(names)


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
        return {place.name for place in children(self.folder) if _WNID.fullmatch(place.name) and is_folder(place)}

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
            "  do         : pass --val-labels FILE, a table of image and class such as the LOC_val_solution.csv of "
            "Kaggle's archive\n"
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
    """Image, without its suffix -> class: the first two columns of a table, of which the second begins with the class.

    Columns are divided by commas or spaces; the first line may be a heading.
    """
    labels = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the table of val cannot be read: {error}\n  looked for : {shown(path)}") from error
    for number, line in enumerate(lines, 1):
        words = line.replace(",", " ").split()
        if len(words) > 1 and _WNID.fullmatch(words[1]):
            labels[Path(words[0]).stem] = words[1]
        elif words and number > 1:
            raise UserError(
                f"not a line of image and class: {shown(line[:80])}\n  looked at  : {shown(path)}, line {number}"
            )
    return labels
