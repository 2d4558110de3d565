"""Several prototypes a class, to which embeddings are assigned in part: those of PALM."""

import torch
from torch import Tensor
from torch.nn import functional as F

from utils.prototypes import Prototypes
from utils.prototypes.scan import check_batch


class MixturePrototypes(Prototypes):
    """Prototypes of PALM: P a class, each a moving average of the embeddings assigned to it (Lu et al. 2024).

    p_j <- normalise( momentum * p_j + (1 - momentum) * sum_i w_ij z_i )

    The weights of a batch come from its soft assignment to all prototypes, balanced by Sinkhorn iterations, of which a
    row keeps its `nearest` best prototypes of its own class; they are scaled to sum to 1 over each row, then over each
    column. The buffer `prototypes` (C * P, D) holds prototype j of class j mod C; it starts in random directions of the
    positive orthant, as in the authors' code.

    Args:
        nearest: k, prototypes that a row is assigned to; 0 for all of its class.
        epsilon: temperature of the assignment.    iterations: of Sinkhorn.
    Raises:
        ValueError: momentum outside [0, 1), or more nearest prototypes than a class has.
    """

    def __init__(
        self,
        num_classes: int,
        per_class: int,
        feat_dim: int,
        momentum: float,
        *,
        nearest: int = 0,
        epsilon: float = 0.05,
        iterations: int = 3,
    ) -> None:
        super().__init__()
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), not {momentum}")
        if not 0 <= nearest <= per_class:
            raise ValueError(f"{nearest} nearest of {per_class} prototypes a class are not possible")
        self.num_classes, self.momentum = num_classes, momentum
        self.nearest, self.epsilon, self.iterations = nearest or per_class, epsilon, iterations
        self.register_buffer("prototypes", F.normalize(torch.rand(num_classes * per_class, feat_dim), dim=1))

    def update(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Move the prototypes by one batch.

        Args:
            features: (N, D) unit rows.    labels: (N,) int64 in 0..C-1.
        Returns:
            (C * P, D) prototypes after the batch, with gradient to `features` through this batch's averages; the buffer
            keeps a detached copy, and prototypes of a class absent from the batch keep their place. (N, C * P) weights
            of `MixtureLikelihoodLoss`, without gradient: assigned anew, to the moved prototypes.
        Raises:
            ValueError: shapes that do not fit.    RuntimeError: a label out of range.
        """
        check_batch(features, labels, self.prototypes)
        with torch.autocast(features.device.type, enabled=False):
            features = features.to(self.prototypes.dtype)
            per_class = len(self.prototypes) // self.num_classes
            own = self._assignment(features) * F.one_hot(labels, self.num_classes).repeat(1, per_class)  # N x CP
            best = torch.zeros_like(own).scatter_(1, own.topk(self.nearest, dim=1).indices, 1)
            weights = F.normalize(F.normalize(own * best, p=1, dim=1), p=1, dim=0)
            moved = self.momentum * self.prototypes + (1 - self.momentum) * (weights.T @ features)
            updated = F.normalize(moved, dim=1)
            with torch.no_grad():
                self.prototypes.copy_(updated)
            return updated, F.normalize(self._assignment(features) * best, p=1, dim=1)

    @torch.no_grad()
    def _assignment(self, features: Tensor) -> Tensor:
        """Soft assignment (N, C * P) of rows to prototypes, which takes from all prototypes alike; rows sum to 1."""
        shares = (features @ self.prototypes.T / self.epsilon).exp()
        for _ in range(self.iterations):
            shares = F.normalize(F.normalize(shares, p=1, dim=0), p=1, dim=1)
        return shares
