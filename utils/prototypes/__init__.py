"""Class prototypes on the unit sphere: CIDER's moving average, the learnable ablation, and ways to start them."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from utils.prototypes.scan import check_batch, scan_prototypes


class Prototypes(nn.Module):
    """Prototypes under the name `prototypes`: (C, D), or (C * P, D) of which j is of class j mod C."""

    prototypes: Tensor

    @torch.no_grad()
    def unit(self) -> Tensor:
        """Unit rows of the moment, without gradient."""
        return self.prototypes

    @torch.no_grad()
    def start_at(self, rows: Tensor) -> None:
        """Begin with these rows."""
        self.prototypes.copy_(rows)


class EMAPrototypes(Prototypes):
    """Prototypes of CIDER, an exponential moving average of the embeddings of their class (Ming et al. 2023, eq. 8).

    mu_y <- normalise( momentum * mu_y + (1 - momentum) * z )        for every row z of class y, one after the other

    The buffer `prototypes` (C, D) starts at zero, so that a class begins at its first embedding; training fills it
    with `class_means` of the ID training set first.

    Raises:
        ValueError: momentum outside [0, 1).
    """

    def __init__(self, num_classes: int, feat_dim: int, momentum: float) -> None:
        super().__init__()
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), not {momentum}")
        self.momentum = momentum
        self.register_buffer("prototypes", torch.zeros(num_classes, feat_dim))

    def update(self, features: Tensor, labels: Tensor) -> Tensor:
        """Move the prototypes by one batch, in the order of its rows.

        Args:
            features: (N, D) unit rows. For the paper's result: view 1 of all images, then view 2.
            labels: (N,) int64 in 0..C-1.
        Returns:
            (C, D) prototypes after the batch, in the dtype of the buffer. Gradient flows to `features` through the
            whole chain of this batch; the buffer keeps a detached copy. Classes absent from the batch are constants.
        Raises:
            ValueError: shapes that do not fit, or (on the CPU) a label out of range. On a GPU such a label ends the
                process with a device-side assertion, for a check on the host would stall every step.
        """
        check_batch(features, labels, self.prototypes)
        features = features.to(self.prototypes.dtype)  # half precision has too few digits for momentum 0.99
        updated = scan_prototypes(self.prototypes, features, labels, self.momentum)
        with torch.no_grad():
            self.prototypes.copy_(updated)
        return updated


class LearnablePrototypes(Prototypes):
    """Prototypes as plain parameters in the optimiser, without a moving average: an ablation of the CIDER paper.

    The parameter `prototypes` (C, D) starts in random directions; `forward()` gives unit rows (C, D) with gradient.
    """

    def __init__(self, num_classes: int, feat_dim: int) -> None:
        super().__init__()
        self.prototypes = nn.Parameter(F.normalize(torch.randn(num_classes, feat_dim), dim=1))

    @torch.no_grad()
    def unit(self) -> Tensor:
        return self()

    def forward(self) -> Tensor:
        return F.normalize(self.prototypes, dim=1)


def class_directions(prototypes: Tensor, num_classes: int) -> Tensor:
    """Where the classes stand: (C, D) means of the prototypes (C * P, D) of each, of any length for P > 1."""
    return prototypes.view(-1, num_classes, prototypes.shape[1]).mean(0)


def class_means(features: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Normalised mean of the features of each class: where CIDER's prototypes start.

    Args:
        features: (N, D), those of the ID training set; the test set would leak.
        labels: (N,) int64 in 0..num_classes-1.
    Returns:
        (num_classes, D) unit rows in the dtype of the features.
    Raises:
        ValueError: a class without features, or a label out of range.
    """
    counts = torch.bincount(labels, minlength=num_classes)
    if len(counts) > num_classes:
        raise ValueError(f"label {int(labels.max())} is out of range: there are {num_classes} classes")
    empty = (counts == 0).nonzero().flatten().tolist()
    if empty:
        raise ValueError(f"no features of class {', '.join(map(str, empty))}: its prototype would have no direction")
    sums = features.new_zeros(num_classes, features.shape[1], dtype=torch.float64)
    sums.index_add_(0, labels, features.double())  # float64, so that the order of the rows does not matter
    return F.normalize(sums, dim=1).to(features.dtype)


def simplex(num_classes: int, dim: int, generator: torch.Generator | None = None) -> Tensor:
    """Vertices of a regular simplex, randomly rotated: the most that prototypes can be spread.

    Returns:
        (num_classes, dim) unit rows, float32 on the CPU; the cosine of any two is -1 / (num_classes - 1).
    Raises:
        ValueError: fewer than two classes, or more than dim + 1, for which no such arrangement exists.
    """
    if not 2 <= num_classes <= dim + 1:
        raise ValueError(f"a regular simplex in {dim} dimensions has 2 to {dim + 1} vertices, not {num_classes}")
    double = {"dtype": torch.float64, "generator": generator}
    ones_first = torch.randn(num_classes, num_classes, **double)
    ones_first[:, 0] = 1
    vertices = torch.linalg.qr(ones_first).Q[:, 1:]  # rows of a basis orthogonal to (1, ..., 1): C x C-1
    frame = torch.linalg.qr(torch.randn(dim, num_classes - 1, **double)).Q
    return F.normalize(vertices @ frame.T, dim=1).float()
