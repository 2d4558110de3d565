"""Collapse: a trained network that does not hold its classes apart, so that its OOD figures mean nothing."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from utils.prototypes import class_directions

# Share of the way from chance to a perfect ID accuracy; CIFAR-10 after four epochs of a narrow network has 0.64.
LEARNED = 0.25
# Cosine of two prototypes in one place: 8 degrees apart, where prototypes that are spread have 90 or more.
SHARED = 0.99


def collapse(num_classes: int, id_accuracy: float | None = None, prototypes: Tensor | None = None) -> str | None:
    """What is wrong with a network that does not tell its ID classes apart; None where nothing is.

    Collapsed is a network whose ID accuracy a has (a - 1/C) / (1 - 1/C) < 0.25, or for which at least half of the
    classes share their prototype with another one (cosine above 0.99); so has one whose training has hardly begun.

    Args:
        num_classes: C; 0 where nobody knows them, as of a SupContrast file.
        prototypes: (C, D) of the head, or of a mixture (C * P, D); None for methods without.
        id_accuracy: of ID test by KNN or the classifier, as a fraction; None where nobody has measured it.
    """
    if not num_classes:
        return None
    faults = []
    chance = 1 / num_classes
    if id_accuracy is not None and id_accuracy - chance < LEARNED * (1 - chance):
        faults.append(f"ID accuracy is {100 * id_accuracy:.1f} %, where guessing gives {100 * chance:.1f} %")
    sharing = 0 if prototypes is None else classes_that_share(class_directions(prototypes, num_classes))
    if 2 * sharing >= num_classes:
        faults.append(f"{sharing} of {num_classes} classes share their prototype with another class")
    return "; ".join(faults) or None


def classes_that_share(prototypes: Tensor) -> int:
    """How many of the C classes of (C, D) prototypes have another class's prototype within a cosine of 0.99."""
    unit = F.normalize(prototypes.detach().double(), dim=1)
    cosines = (unit @ unit.T).fill_diagonal_(-1)
    return int((cosines.amax(1) > SHARED).sum())


def collapse_warning(fault: str, trained_with: Mapping[str, Any]) -> str:
    """The warning about what `collapse` found: what it means, and what else to try.

    Args:
        trained_with: the arguments of the training, so that nothing is proposed that was set already; may be empty.
    """
    return (
        f"warning: THIS NETWORK HAS COLLAPSED: {fault}. Do not rely on its OOD scores.\n"
        f"  do         : train again with {', or '.join(ways_out(trained_with))}"
    )


def ways_out(trained_with: Mapping[str, Any]) -> list[str]:
    """Changes of the command line that have ended collapses, other than what the training had."""
    found = ["another --seed"]
    own = "--pretrain-" if trained_with.get("stage") == "pretrain" else "--"  # of MCD's first stage
    if batch := trained_with.get("batch_size"):
        # Half the batch at half the rate: as many images, twice as many steps.
        found.append(f"{own}batch-size {max(2, batch // 2)} {own}learning_rate {trained_with['learning_rate'] / 2:.2g}")
    found.append(f"more {own}epochs{f' than {epochs}' if (epochs := trained_with.get('epochs')) else ''}")
    if trained_with.get("loss") == "cider":
        found += ["--prototype-init simplex"] if trained_with.get("prototype_init") == "class-means" else []
        found.append("--loss supcon")
    return found
