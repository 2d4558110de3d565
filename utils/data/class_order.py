"""The classes of an ID set in the order in which a network was trained on them."""

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch

from utils.data.id_sets import IDData
from utils.data.images import ImageSet
from utils.errors import UserError


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
    return replace(
        data,
        train=_renumbered(data.train, number),
        test=_renumbered(data.test, number),
        class_names=names,
        notes=(*data.notes, note),
    )


def _renumbered(images: ImageSet, number: torch.Tensor) -> ImageSet:
    found = copy.copy(images)
    found.__dict__.pop("fingerprint", None)  # labels are a part of it
    found.labels = number[images.labels]
    return found
