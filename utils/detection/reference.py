"""What a detector must know beside its network: reference statistics of ID images, in one file beside the checkpoint.

The file holds no training image and no code: penultimate features of ID training images, which any score is fitted to,
and of ID images that are not among them, whose scores thresholds are taken from.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from utils.errors import UserError, one_line
from utils.evaluation.registry import SCORES
from utils.files import atomic_write, check_archive, parse_json

FORMAT = "ood reference statistics 2"
_ABOUT = ("score", "k", "source", "class_names", "mean", "std", "size", "checkpoint_sha256", "id_accuracy")


@dataclass(frozen=True)
class Reference:
    """Reference statistics of one checkpoint.

    Attributes:
        score: the one to use where nobody asks for another, by its name in the registry.
        k: neighbour of the KNN score.
        bank: (M, D) penultimate features of ID training images, as the network gives them; read as float32.
        bank_labels: (M,) int64 classes of those images, or None where nobody knows them.
        held_out: (N, D) of ID images that are not in the bank.
        source: which images those are, in words.
        mean, std, size: what images are normalised by and resized to.
        checkpoint_sha256: of the checkpoint file that all this was computed with.
        id_accuracy: of the held-out images by KNN, as a fraction; None where their classes are not known.
        id_scores: name of a score -> those of held-out images, larger = more ID, where they have been computed; of more
            images than `held_out` has in a small file.
    """

    score: str
    k: int
    bank: Tensor
    bank_labels: Tensor | None
    held_out: Tensor
    source: str
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int
    checkpoint_sha256: str
    id_accuracy: float | None = None
    id_scores: Mapping[str, Tensor] = field(default_factory=dict)


def save_reference(path: Path, reference: Reference) -> None:
    """Write the statistics, completely or not at all.

    Raises:
        OSError: the place cannot be written to.
    """
    labels = reference.bank_labels
    with atomic_write(path) as stream:
        np.savez(
            stream,
            about=np.array(json.dumps({"format": FORMAT} | {name: getattr(reference, name) for name in _ABOUT})),
            bank=reference.bank.numpy(),
            bank_labels=np.empty(0, np.int64) if labels is None else labels.numpy(),
            held_out=reference.held_out.numpy(),
            **{f"id_scores/{name}": scores.numpy() for name, scores in reference.id_scores.items()},
        )


def load_reference(path: Path) -> Reference:
    """Read what `save_reference` wrote. The arrays are members of a zip archive, whose CRCs numpy checks.

    Raises:
        UserError: missing, damaged, of an earlier version, or another file.
    """
    if not path.is_file():
        raise UserError(f"reference statistics not found.\n  looked for : {path}")
    try:
        check_archive(path)
        with np.load(path, allow_pickle=False) as archive:
            about = parse_json(str(archive["about"]))
            written_as = about.pop("format")
            if written_as == FORMAT:
                bank, held_out = (torch.from_numpy(archive[name]).float() for name in ("bank", "held_out"))
                labels = torch.from_numpy(archive["bank_labels"])
                id_scores = {
                    name: torch.from_numpy(archive[f"id_scores/{name}"])
                    for name in SCORES
                    if f"id_scores/{name}" in archive
                }
                about |= {name: tuple(about[name]) for name in ("class_names", "mean", "std")}
                reference = Reference(
                    bank=bank,
                    bank_labels=labels if len(labels) else None,
                    held_out=held_out,
                    id_scores=id_scores,
                    **about,
                )
                _check(reference)
    except Exception as error:  # numpy and zipfile say nowhere what they raise for bytes that are no archive
        raise UserError(f"{path} is damaged, or holds no reference statistics: {one_line(error)}") from error
    if written_as != FORMAT:
        raise UserError(
            f"{path} was written by another version of this code\n"
            "  do         : make it anew, with eval_cider.py --ckpt FILE or detect.py --ckpt FILE --fit FOLDER"
        )
    return reference


def _check(reference: Reference) -> None:
    bank, labels, held_out = reference.bank, reference.bank_labels, reference.held_out
    if reference.score not in SCORES or not isinstance(reference.k, int) or not 1 <= reference.k <= len(bank):
        raise ValueError(f"unknown score {reference.score}, or K = {reference.k} of {len(bank)}")
    for rows in (bank, held_out):
        if rows.ndim != 2 or not len(rows) or not rows.isfinite().all():
            raise ValueError("its features are not usable")
    if bank.shape[1] != held_out.shape[1]:
        raise ValueError("its features do not fit each other")
    if labels is not None and (labels.dtype != torch.int64 or labels.shape != bank.shape[:1] or labels.min() < 0):
        raise ValueError("its labels do not fit its features")
    for scores in reference.id_scores.values():
        if scores.ndim != 1 or len(scores) < len(held_out) or not scores.isfinite().all():
            raise ValueError("its ID scores are not usable")
    if not isinstance(reference.id_accuracy, float | None):
        raise ValueError("its ID accuracy is not usable")
    if len(reference.mean) != 3 or len(reference.std) != 3 or min(reference.std) <= 0 or reference.size < 1:
        raise ValueError("its normalisation is not usable")


def reference_path(checkpoint: Path, *, small: bool = False) -> Path:
    """Where the statistics of a checkpoint lie: checkpoint_500.pth.tar -> checkpoint_500.reference.npz.

    Args:
        small: those of a part of the training images, in half precision: checkpoint_500.reference.small.npz.
    """
    return checkpoint.with_name(f"{checkpoint.name.removesuffix('.pth.tar')}.reference{'.small' * small}.npz")


def find_reference(checkpoint: Path) -> Path:
    """The statistics beside a checkpoint: those of all training images, or else the small ones."""
    places = reference_path(checkpoint), reference_path(checkpoint, small=True)
    return next((place for place in places if place.is_file()), places[0])
