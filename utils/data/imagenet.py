"""ImageNet-100 in its official layout, and lists of ImageNet's classes."""

import re
from collections.abc import Iterator
from pathlib import Path

from utils.data.class_folders import flat, read_both
from utils.data.id_records import IDSet
from utils.data.images import FileImages, Read
from utils.data.places import is_folder
from utils.errors import UserError, one_line, shown
from utils.files import typed

# The classes of deeplearning-wisc/MCM, data/ImageNet100/class_list.txt, which CIDER's checkpoint was trained on.
PUBLIC_LIST = Path(__file__).with_name("imagenet100_wnids.txt")
WNID = re.compile(r"n\d{8}")


def read_imagenet_100(_: IDSet, root: Path, *, size: int, **__: object) -> Read:
    """Read train/<wnid>/<image> and val/<wnid>/<image>. The files are not opened before they are needed.

    Raises:
        UserError: missing, or train and val do not have the same classes.
    """
    for part in ("train", "val"):
        if not is_folder(root / part):
            raise UserError(
                f"ImageNet-100 not found.\n  looked for : {shown(root / part)}/<wnid>/<image>\n"
                f"  get it by  : {typed('scripts/make_imagenet100.py')} /path/to/ImageNet\n"
                "  or         : pass --id-loc /path/to/folder"
            )
    train, test = read_both(root / "train", root / "val")
    names = tuple(train)
    if len(test) < len(names):
        raise UserError(
            f"ImageNet-100: val/ lacks classes of train/: {', '.join(sorted(set(names) - set(test)))}\n"
            f"  looked at  : {shown(root)}"
        )
    sets, notes = [], []
    for part, classes in (("train", train), ("test", test)):
        paths, labels, others = flat(f"ImageNet-100 {part}", classes, names)
        sets.append(FileImages(f"ImageNet-100 {part}", paths, size, labels))
        notes += others
    public = read_class_list(PUBLIC_LIST)
    if len(names) != len(public):
        notes.append(f"ImageNet-100: {len(names)} classes in place of {len(public)}")
    elif strange := set(names) - set(public):
        notes.append(
            f"ImageNet-100: {len(strange)} classes are not of the public list, so no published figures compare"
        )
    return *sets, names, tuple(notes)


def read_class_list(path: Path) -> tuple[str, ...]:
    """The WordNet ids that begin the lines of a file; empty lines and lines that begin with # do not count.

    What follows an id, such as the name of the class, is not read. A table may have a heading, and quotes.

    Raises:
        UserError: no such file, a line without a WordNet id, a class twice, fewer than two.
    """
    names: list[str] = []
    for number, words in rows_of(path, "the list of classes"):
        if number == 1 and len(words) > 1 and not WNID.fullmatch(words[0]):
            continue
        if not WNID.fullmatch(words[0]) or words[0] in names:
            fault = "stands there twice" if words[0] in names else "is no WordNet id such as n01440764"
            raise UserError(f"{shown(words[0][:80])} {fault}\n  looked at  : {shown(path)}, line {number}")
        names.append(words[0])
    if len(names) < 2:
        raise UserError(f"a subset needs two classes or more, found {len(names)}\n  looked at  : {shown(path)}")
    return tuple(names)


def rows_of(path: Path, what: str) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and words of a table, divided by commas, semicolons or white space, quoted or not.

    Empty lines and those that begin with # are left out.

    Args:
        what: the table, for the message.
    Raises:
        UserError: it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{what} cannot be read: {one_line(error)}\n  looked for : {shown(path)}") from error
    for number, line in enumerate(text.splitlines(), 1):
        words = re.sub('[,;"]', " ", line).split()
        if words and not words[0].startswith("#"):
            yield number, words
