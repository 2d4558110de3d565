"""What a score is: fit(features of ID train) -> score(features), with what it needs of a checkpoint and its paper."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from utils.checkpoint import Checkpoint
from utils.errors import UserError, one_line
from utils.evaluation.features import Features

# What a score may need beside the penultimate features, which every checkpoint gives.
NEEDS = {
    "labels": "the classes of the ID images",
    "classifier": "a trained classifier on the penultimate features",
    "prototypes": "prototypes, and the projection head that they live behind",
    "energy weights": "the energy weights and logistic head that VOS trains",
    "two heads": "two classifiers on the same features, which MCD trains",
    "images": "the images, for gradients through the network",
}
# Outputs of the network for a set (on the device of the ingredients), and that utils.data.images.ImageSet -> (N,),
# larger = more ID.
FittedScore = Callable[[dict[str, Tensor], Any], Tensor]


@dataclass(frozen=True)
class Ingredients:
    """What a checkpoint and the command line give to a score; None for what the checkpoint has not.

    Attributes:
        num_classes: C.    k: neighbour of the KNN score.    device: where scores are computed.
        classifier: the layer from penultimate features to logits, where it was trained.
        prototypes: (C, feat_dim) of the head's space, or of a mixture (C * P, feat_dim).
        model: the network, for gradients through it, and for what VOS and MCD train beside its classifier.
        mean, std: of the channels of its images.    workers: that decode them.
        labels: whether the classes of ID train are known.
    """

    num_classes: int
    k: int
    device: torch.device
    classifier: nn.Linear | None = None
    prototypes: Tensor | None = None
    model: nn.Module | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    workers: int = 0
    labels: bool = True

    @classmethod
    def of(cls, checkpoint: Checkpoint, **settings: Any) -> "Ingredients":
        """What this checkpoint gives, the classifier only where its method trains it; `settings`: the other fields."""
        model = checkpoint.model
        classifier = model.fc if checkpoint.method.trains_classifier else None
        return cls(
            model.config["num_classes"],
            classifier=classifier,
            prototypes=checkpoint.prototypes,
            model=model,
            **settings,
        )

    def has(self, need: str) -> bool:
        """Whether a need of NEEDS is met."""
        given = {
            "labels": self.labels or None,
            "classifier": self.classifier,
            "prototypes": self.prototypes,
            "energy weights": getattr(self.model, "energy", None),
            "two heads": getattr(self.model, "head2", None),
            "images": True,
        }
        return given[need] is not None


@dataclass(frozen=True)
class Score:
    """A score by name.

    Attributes:
        shown: as tables name it; {k} stands for the neighbour of the KNN score.
        paper: where it was introduced; a function where the library that knows is slow to load.
        fit_to: ID training features (outputs on the device, with labels) and ingredients -> the score as a function.
            Raises ValueError where these features do not allow it.
        needs: names of NEEDS.
        probability: whether the sigmoid of the score is what its authors show and threshold. A probability close to 1
            has no digits left, so ranking and metrics use the number before the sigmoid.
    """

    name: str
    shown: str
    paper: str | Callable[[], str]
    fit_to: Callable[[Features, Ingredients], FittedScore]
    needs: tuple[str, ...] = ()
    probability: bool = False

    def fit(self, train: Features, given: Ingredients) -> FittedScore:
        """The score as a function, once fitted to ID train; a UserError where these features do not allow it."""
        try:
            return self.fit_to(train, given)
        except (ValueError, torch.linalg.LinAlgError) as error:
            raise UserError(
                f"--score {self.name} can not be fitted to the features of ID train: {one_line(error)}"
            ) from error

    def display(self, scores: Tensor) -> Tensor:
        """What is shown of single images, and what a threshold of the user is compared with."""
        return scores.double().sigmoid() if self.probability else scores
