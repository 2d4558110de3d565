"""What a detector must know beside its network: reference statistics of ID images, in one file beside the checkpoint.

The file holds no training image and no code: the bank of features that the KNN score searches, and the scores of ID
images that are not in the bank, from which thresholds are taken.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from utils.errors import UserError, one_line
from utils.evaluation.features import Features
from utils.evaluation.knn_search import knn_search
from utils.evaluation.logit_scores import LOGIT_SCORES, logit_score, on_cpu
from utils.evaluation.metrics import recall_threshold
from utils.files import atomic_write, check_archive, parse_json

# A larger bank is stored in float16, which moves a row by at most 2^-11 of its length.
EXACT_BYTES = 32 * 1024**2
FORMAT = "ood reference statistics 1"
_ABOUT = ("score", "shown", "k", "source", "class_names", "mean", "std", "size", "checkpoint_sha256")


@dataclass(frozen=True)
class Reference:
    """Reference statistics of one checkpoint.

    Attributes:
        score: as `make_scorer` names it.    shown: as tables name it.
        k: neighbour of the KNN score; 0 for scores without neighbours.
        bank: (M, D) unit penultimate features of ID images, float32 or float16; M = 0 for scores without neighbours.
        bank_labels: (M,) int64 classes of those images, or None where nobody knows them.
        id_scores: (N,) scores of ID images that are not in the bank; larger = more ID.
        source: which images those are, in words.
        mean, std, size: what images are normalised by and resized to.
        checkpoint_sha256: of the checkpoint file that all this was computed with.
    """

    score: str
    shown: str
    k: int
    bank: Tensor
    bank_labels: Tensor | None
    id_scores: Tensor
    source: str
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int
    checkpoint_sha256: str

    def threshold(self, id_recall: float = 0.95) -> float:
        """The score at which the share of ID images accepted (score >= threshold) is closest to `id_recall`."""
        return recall_threshold(self.id_scores, id_recall)


@dataclass(frozen=True)
class Scorer:
    """How a detector scores: name, as in `--score`; shown, as tables have it; k, or 0 without neighbours.

    score: outputs of the network, bank -> scores (N,), larger = more ID, and the neighbours (N, k) where it has some.
    """

    name: str
    shown: str
    k: int
    score: Callable[[dict[str, Tensor], Tensor], tuple[Tensor, Tensor | None]]


def make_scorer(name: str, model: nn.Module, *, k: int, classifier_is_trained: bool) -> Scorer:
    """The scorer of that name: "knn", or one of LOGIT_SCORES, which do without a bank.

    Args:
        k: neighbour of the KNN score; no other score looks at it.
    Raises:
        UserError: unknown, or the network has not what the score is made of.
    """
    if name == "knn":
        return Scorer(name, f"KNN (K={k})", k, partial(_knn, k=k))
    score = logit_score(name, model, classifier_is_trained=classifier_is_trained)

    def on_logits(outputs: dict[str, Tensor], bank: Tensor) -> tuple[Tensor, None]:
        # Single images have no ranking to keep, so a score that is a probability is given as one.
        return score.display(score.score(on_cpu(outputs))), None

    return Scorer(name, score.shown, 0, on_logits)


def _knn(outputs: dict[str, Tensor], bank: Tensor, k: int) -> tuple[Tensor, Tensor]:
    found = knn_search(bank, F.normalize(outputs["penultimate"], dim=1), (k,))
    return found.scores[:, 0], found.indices


def make_reference(
    scorer: Scorer,
    train: Features,
    held_out: Features,
    *,
    source: str,
    class_names: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
    size: int,
    checkpoint_sha256: str,
    device: torch.device | str = "cpu",
) -> Reference:
    """Reference statistics from features of ID images.

    Args:
        train: of the images in the bank; labels where they are known.
        held_out: of ID images that are not in the bank; source: what these are, in words.
        device: where the neighbours are searched.
    Raises:
        UserError: fewer images in the bank than k.
    """
    bank = torch.empty(0, train.outputs["penultimate"].shape[1])
    labels = None
    if scorer.k:
        bank, labels = F.normalize(train.outputs["penultimate"], dim=1), train.labels
        if bank.nbytes > EXACT_BYTES:
            # Thresholds come from the same rounded rows, so they fit the scores.
            bank = bank.half()
        if scorer.k > len(bank):
            raise UserError(f"K = {scorer.k} needs as many ID images to compare with, but there are {len(bank):,}")
    on_device = {name: values.to(device) for name, values in held_out.outputs.items()}
    scores, _ = scorer.score(on_device, bank.to(device))
    return Reference(
        score=scorer.name,
        shown=scorer.shown,
        k=scorer.k,
        bank=bank,
        bank_labels=labels,
        id_scores=scores.cpu(),
        source=source,
        class_names=tuple(class_names),
        mean=tuple(mean),
        std=tuple(std),
        size=size,
        checkpoint_sha256=checkpoint_sha256,
    )


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
            id_scores=reference.id_scores.numpy(),
        )


def load_reference(path: Path) -> Reference:
    """Read what `save_reference` wrote. The arrays are members of a zip archive, whose CRCs numpy checks.

    Raises:
        UserError: missing, damaged, or another file.
    """
    if not path.is_file():
        raise UserError(f"reference statistics not found.\n  looked for : {path}")
    try:
        check_archive(path)
        with np.load(path, allow_pickle=False) as archive:
            about = parse_json(str(archive["about"]))
            bank, labels, id_scores = (torch.from_numpy(archive[name]) for name in ("bank", "bank_labels", "id_scores"))
        if about.pop("format") != FORMAT:
            raise ValueError("another format")
        about |= {name: tuple(about[name]) for name in ("class_names", "mean", "std")}
        reference = Reference(bank=bank, bank_labels=labels if len(labels) else None, id_scores=id_scores, **about)
        _check(reference)
    except Exception as error:  # numpy and zipfile say nowhere what they raise for bytes that are no archive
        raise UserError(f"{path} is damaged, or holds no reference statistics: {one_line(error)}") from error
    return reference


def _check(reference: Reference) -> None:
    bank, labels = reference.bank, reference.bank_labels
    if reference.score not in ("knn", *LOGIT_SCORES) or (reference.score == "knn") != (reference.k > 0):
        raise ValueError(f"unknown score {reference.score} with K = {reference.k}")
    if bank.ndim != 2 or not bank.is_floating_point() or len(bank) < reference.k or not bank.isfinite().all():
        raise ValueError("its bank of features is not usable")
    if labels is not None and (labels.shape != bank.shape[:1] or labels.min() < 0):
        raise ValueError("its labels do not fit its bank of features")
    if reference.id_scores.ndim != 1 or not len(reference.id_scores) or not reference.id_scores.isfinite().all():
        raise ValueError("its ID scores are not usable")
    if len(reference.mean) != 3 or len(reference.std) != 3 or min(reference.std) <= 0 or reference.size < 1:
        raise ValueError("its normalisation is not usable")


def reference_path(checkpoint: Path) -> Path:
    """Where the statistics of a checkpoint file lie: checkpoint_500.pth.tar -> checkpoint_500.reference.npz."""
    return checkpoint.with_name(f"{checkpoint.name.removesuffix('.pth.tar')}.reference.npz")
