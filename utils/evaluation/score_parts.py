"""What a score is made of: its record, what it needs of a checkpoint, and what comes of fitting it to ID train."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from utils.evaluation.features import Features

# What a score may need beside the penultimate features, which every checkpoint gives.
NEEDS = {
    "classifier": "a trained classifier on the penultimate features",
    "prototypes": "prototypes, and the projection head that they live behind",
    "energy weights": "the energy weights and logistic head that VOS trains",
    "two heads": "two classifiers on the same features, which MCD trains",
    "images": "the images, for gradients through the network",
}


@dataclass(frozen=True)
class Network:
    """logits: normalised images (N, 3, S, S) -> (N, C), with gradient to the images.    mean, std: of the channels."""

    logits: Callable[[Tensor], Tensor]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    workers: int = 0


@dataclass(frozen=True)
class Ingredients:
    """What a checkpoint and the command line give to a score; None for what the checkpoint has not.

    Attributes:
        num_classes: C.    k: neighbour of the KNN score.    device: where scores are computed.
        classifier: the layer from penultimate features to logits, where it was trained.
        prototypes: (C, feat_dim) of the head's space.
        model: the network, for what VOS and MCD train beside its classifier.
        network: for scores that need gradients through it.
    """

    num_classes: int
    k: int
    device: torch.device
    classifier: nn.Linear | None = None
    prototypes: Tensor | None = None
    model: nn.Module | None = None
    network: Network | None = None

    def has(self, need: str) -> bool:
        """Whether a need of NEEDS is met."""
        given = {
            "classifier": self.classifier,
            "prototypes": self.prototypes,
            "energy weights": getattr(self.model, "energy", None),
            "two heads": getattr(self.model, "head2", None),
            "images": self.network,
        }
        return given[need] is not None


@dataclass(frozen=True)
class FittedScore:
    """A score that is ready for use.

    Attributes:
        shown: as tables name it, with its settings.
        score: outputs of the network for a set (on the device), and that utils.data.images.ImageSet -> (N,),
            larger = more ID.
        probability: whether the sigmoid of the score is what its authors show and threshold. A probability close to 1
            has no digits left, so ranking and metrics use the number before the sigmoid.
    """

    shown: str
    score: Callable[[dict[str, Tensor], Any], Tensor]
    probability: bool = False


@dataclass(frozen=True)
class Score:
    """A score by name.

    Attributes:
        needs: names of NEEDS.
        paper: where it was introduced; a function, since the library that knows may be slow to load.
        fit: ID training features (outputs on the device, with labels) and ingredients -> FittedScore.
            Raises ValueError where these features do not allow it.
    """

    name: str
    needs: tuple[str, ...]
    paper: Callable[[], str]
    fit: Callable[[Features, Ingredients], FittedScore]
