"""The unlabelled mix of MCD: ID test and OOD images without their labels."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from utils.data.id_sets import IDData
from utils.data.images import FileImages, ImageSet, TensorImages
from utils.data.ood_sets import load_ood
from utils.data.splits import SetSplit, Split, choice_size, split_set, without
from utils.errors import UserError
from utils.files import file_sha256

NO_LABEL = -1  # no loss takes it for a class


@dataclass(frozen=True)
class Mix:
    """The images of a split.

    unlabelled: of ID test and of all OOD sets, in one set without labels.
    choice_id, choice_ood: those that choose the epoch.    notes: for the user.
    """

    split: Split
    unlabelled: ImageSet
    choice_id: ImageSet
    choice_ood: ImageSet
    notes: tuple[str, ...]


def load_mix(
    data: IDData,
    names: Sequence[str],
    root: Path | None = None,
    *,
    mode: str,
    choice: int | None = None,
    seed: int = 0,
) -> Mix:
    """Load the OOD sets and deal out their images and those of ID test, as utils/data/splits.py says.

    Args:
        names: OOD sets as `load_ood` takes them.    root: folder that holds them; None for the default place.
        mode: "transductive" or "inductive".    choice: images of each set that choose the epoch; None for the usual.
        seed: of the split. Subsets of large OOD sets, and generated ones, are those of an evaluation with --seed 0.
    Raises:
        UserError: a set is missing, named twice, or too small.
    """
    found = [load_ood(name, data, root) for name in names]
    shown = [images.name for images in found]
    if len(set(shown)) < len(shown):
        raise UserError(f"--ood names one set twice: {', '.join(shown)}")
    sets = [data.test, *found]
    parts = [
        split_set(
            len(images),
            mode,
            choice=choice_size(images.name, len(images), choice),
            seed=seed,
            fingerprint=images.fingerprint,
        )
        for images in sets
    ]
    notes = [note for images in found for note in images.notes]
    if mode == "inductive":
        parts, dropped = _without_twins(sets, parts)
        if dropped:
            notes.append(f"{dropped} images are not scored: others in the unlabelled mix are identical")
    split = Split(mode, seed, data.name, parts[0], dict(zip(shown, parts[1:], strict=True)))
    chosen = [images.subset(part.choice) for images, part in zip(sets, parts, strict=True)]
    seen = [images.subset(part.unlabelled) for images, part in zip(sets, parts, strict=True)]
    return Mix(split, joined("unlabelled mix", seen), chosen[0], joined("OOD for the choice", chosen[1:]), tuple(notes))


def joined(name: str, sets: Sequence[ImageSet]) -> ImageSet:
    """All images of these sets, in order, as one set without labels.

    Sets in memory stay there, files are decoded as they come; where there are both, the files are decoded now.
    """
    count = sum(map(len, sets))
    labels = torch.full((count,), NO_LABEL)
    if all(isinstance(images, FileImages) for images in sets):
        return FileImages(name, [path for images in sets for path in images.paths], sets[0].size, labels)
    pixels = [batch for images in sets for batch in images.batches(512, "cpu")]
    return TensorImages(name, torch.cat(pixels), labels)


def _without_twins(sets: Sequence[ImageSet], parts: Sequence[SetSplit]) -> tuple[list[SetSplit], int]:
    """The splits without scored images that are the same, pixel by pixel, as an unlabelled one; and their number."""
    digests = [_digests(images) for images in sets]
    seen = {found[row] for found, part in zip(digests, parts, strict=True) for row in part.unlabelled}
    twins = [{row for row in part.scored if found[row] in seen} for found, part in zip(digests, parts, strict=True)]
    for images, part, rows in zip(sets, parts, twins, strict=True):
        if len(rows) == len(part.scored):
            raise UserError(f"{images.name}: every image that would be scored has a twin in the unlabelled mix")
    return [without(part, rows) for part, rows in zip(parts, twins, strict=True)], sum(map(len, twins))


def _digests(images: ImageSet) -> list[bytes]:
    """A hash of each image's pixels, or of its file."""
    if isinstance(images, FileImages):
        return [bytes.fromhex(file_sha256(path)) for path in images.paths]
    return [hashlib.sha256(image.numpy().data).digest() for batch in images.batches(512, "cpu") for image in batch]
