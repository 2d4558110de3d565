"""Which test images MCD sees without labels, which choose its epoch, and which are scored: fixed, seeded lists.

transductive   the unlabelled images are the very ones that are scored (the paper's protocol)
inductive      the unlabelled images are one half, the scored ones the other

Both leave out the same images for the choice of the epoch, and the inductive scored list is a part of the transductive
one: scored on the former, runs of both modes are compared on images that one has seen and the other has not.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from utils.errors import UserError, one_line
from utils.files import atomic_write, read_json

MODES = ("transductive", "inductive")
PAPER_CHOICE = 1_000
FULL_SET = 10_000  # smaller sets give a tenth for the choice
SMALLEST_CHOICE = 50
_LISTS = ("choice", "unlabelled", "scored")


@dataclass(frozen=True)
class SetSplit:
    """Lists of row numbers, ascending, of one set of `images` images whose content has this `fingerprint`."""

    images: int
    choice: tuple[int, ...]
    unlabelled: tuple[int, ...]
    scored: tuple[int, ...]
    fingerprint: str = ""

    def __post_init__(self) -> None:
        for name in _LISTS:
            rows = getattr(self, name)
            if not rows or list(rows) != sorted(set(rows)) or not 0 <= rows[0] <= rows[-1] < self.images:
                raise ValueError(f"the {name} list is not a list of different rows of {self.images} images")
        if not set(self.choice).isdisjoint(self.unlabelled + self.scored):
            raise ValueError("images that choose the epoch are among the others")


@dataclass(frozen=True)
class Split:
    """The lists of one unlabelled mix: of the ID test set, and of each OOD set by its name as shown.

    Raises:
        ValueError: lists that are not what `mode` promises.
    """

    mode: str
    seed: int
    id_name: str
    id: SetSplit
    ood: dict[str, SetSplit]

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"unknown mode {self.mode!r}; choose from {', '.join(MODES)}")
        for part in (self.id, *self.ood.values()):
            if self.mode == "inductive" and not set(part.unlabelled).isdisjoint(part.scored):
                raise ValueError("the split says inductive, but scores images that are in the unlabelled mix")
            if self.mode == "transductive" and part.unlabelled != part.scored:
                raise ValueError("the split says transductive, but does not score what is in the unlabelled mix")


def choice_size(name: str, images: int, wanted: int | None = None) -> int:
    """How many images of a set choose the epoch: `wanted`, or 1,000, or a tenth where it has fewer than 10,000.

    Raises:
        UserError: fewer than 50, or nothing is left to be scored.
    """
    usual = PAPER_CHOICE if images >= FULL_SET else images // 10
    size = usual if wanted is None else wanted
    if not SMALLEST_CHOICE <= size <= images - 2:
        raise UserError(
            f"{name} gives {size} of its {images:,} images for the choice of the epoch: at least {SMALLEST_CHOICE} are "
            "needed, and others to be scored\n  do         : pass another --choice, or a larger set"
        )
    return size


def split_set(images: int, mode: str, *, choice: int, seed: int, fingerprint: str = "") -> SetSplit:
    """The lists of one set: a function of these numbers alone.

    Args:
        images: in the set.    choice: images that choose the epoch, at most images - 2.
    """
    from utils.data.order import split_order  # loads PyTorch, which command lines do not wait for

    order = split_order(seed, images).tolist()
    rest = order[choice:]
    half = len(rest) // 2
    unlabelled, scored = (rest, rest) if mode == "transductive" else (rest[:half], rest[half:])
    lists = (tuple(sorted(rows)) for rows in (order[:choice], unlabelled, scored))
    return SetSplit(images, *lists, fingerprint=fingerprint)


def without(part: SetSplit, rows: set[int]) -> SetSplit:
    """The lists without these rows among the scored ones."""
    return replace(part, scored=tuple(row for row in part.scored if row not in rows))


def as_plain(split: Split) -> dict[str, Any]:
    """The split as JSON knows it."""
    return {
        "mode": split.mode,
        "seed": split.seed,
        "id": {"name": split.id_name, **_plain_set(split.id)},
        "ood": {name: _plain_set(part) for name, part in split.ood.items()},
    }


def from_plain(content: Mapping[str, Any]) -> Split:
    """What `as_plain` gave.

    Raises:
        ValueError, TypeError, KeyError: not of that form.
    """
    ood = {str(name): _set_of(part) for name, part in content["ood"].items()}
    id_name, own = str(content["id"]["name"]), _set_of(content["id"])
    return Split(str(content["mode"]), int(content["seed"]), id_name, own, ood)


def save_split(path: Path, split: Split) -> None:
    """Write the lists as JSON, completely or not at all."""
    with atomic_write(path, "w") as stream:
        json.dump(as_plain(split), stream)


def load_split(path: Path) -> Split:
    """Read what `save_split` wrote.

    Raises:
        UserError: missing, or not such a file.
    """
    try:
        return from_plain(read_json(path))
    except FileNotFoundError:
        raise UserError(
            f"list of images not found.\n  looked for : {path}\n  get it by  : train_mcd.py, which leaves split.json"
        ) from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise UserError(f"{path} is not a split.json of train_mcd.py ({one_line(repr(error))})") from error


def _plain_set(part: SetSplit) -> dict[str, Any]:
    return {**vars(part), **{name: list(getattr(part, name)) for name in _LISTS}}


def _set_of(content: Mapping[str, Any]) -> SetSplit:
    lists = (tuple(map(int, content[name])) for name in _LISTS)
    return SetSplit(int(content["images"]), *lists, str(content["fingerprint"]))
