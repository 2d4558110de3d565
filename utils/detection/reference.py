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
    """Write the statistics, completely or not at all; an OSError where the place cannot be written to."""
    facts = dict(vars(reference))
    labels, scores = facts.pop("bank_labels"), facts.pop("id_scores")
    with atomic_write(path) as stream:
        np.savez(
            stream,
            bank=facts.pop("bank").numpy(),
            held_out=facts.pop("held_out").numpy(),
            bank_labels=np.empty(0, np.int64) if labels is None else labels.numpy(),
            about=np.array(json.dumps({"format": FORMAT} | facts)),
            **{f"id_scores/{name}": values.numpy() for name, values in scores.items()},
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
            if about.pop("format") != FORMAT or about["score"] not in SCORES:
                raise ValueError("it was written by another version of this code")
            arrays = {name: torch.from_numpy(archive[name]) for name in archive.files if name != "about"}
        about |= {name: tuple(about[name]) for name in ("class_names", "mean", "std")}
        labels = arrays.pop("bank_labels")
        reference = Reference(
            bank=arrays.pop("bank").float(),
            held_out=arrays.pop("held_out").float(),
            bank_labels=labels if len(labels) else None,
            id_scores={name.removeprefix("id_scores/"): values for name, values in arrays.items()},
            **about,
        )
        if not (reference.bank.isfinite().all() and reference.held_out.isfinite().all()):
            raise ValueError("its features are not finite")
        return reference
    except Exception as error:  # numpy and zipfile say nowhere what they raise for bytes that are no archive
        raise UserError(
            f"{path} is damaged, or holds no reference statistics: {one_line(error)}\n"
            "  do         : make it anew, with eval_cider.py --ckpt FILE or detect.py --ckpt FILE --fit FOLDER"
        ) from error


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
