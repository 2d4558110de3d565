"""Names of data sets as people write them: SVHN, svhn, CIFAR10, cifar-10, CIFAR_10."""

from collections.abc import Mapping
from typing import TypeVar

Record = TypeVar("Record")


def named(text: str, names: Mapping[str, Record]) -> Record | None:
    """The record whose name `text` is, whatever its case and with or without dashes, underscores, spaces; else None."""
    return {plain(name): record for name, record in names.items()}.get(plain(text))


def plain(name: str) -> str:
    """What different spellings of a name have in common."""
    return "".join(char for char in name.casefold() if char not in "-_ ")
