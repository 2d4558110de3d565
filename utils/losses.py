"""Losses of the methods: formulas only, nothing of the project imported. Inside autocast they compute in float32."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CompLoss(nn.Module):
    """Compactness loss of CIDER: draws each embedding to the prototype of its class (Ming et al. 2023, eq. 5-6).

    loss = -(T / T_base) * mean_i log( exp(z_i . mu_y(i) / T) / sum_j exp(z_i . mu_j / T) )

    Args:
        features: (N, D) unit rows.
        prototypes: (C, D) unit rows; the paper's training passes them detached.
        labels: (N,) int64 in 0..C-1.
    Returns:
        scalar >= 0.
    Raises:
        ValueError: shapes that do not fit together, or an empty batch.
    """

    def __init__(self, temperature: float = 0.1, base_temperature: float = 0.07) -> None:
        super().__init__()
        self.temperature = temperature
        self.base_temperature = base_temperature

    def forward(self, features: Tensor, prototypes: Tensor, labels: Tensor) -> Tensor:
        if features.dim() != 2 or prototypes.dim() != 2 or features.shape[1] != prototypes.shape[1]:
            raise ValueError(f"features {tuple(features.shape)} and prototypes {tuple(prototypes.shape)} do not fit")
        _check_labels(labels, features.shape[0])
        with torch.autocast(features.device.type, enabled=False):
            scaled = _at_least_float32(prototypes) / self.temperature  # fewer numbers than there are logits
            logits = _at_least_float32(features) @ scaled.T  # N x C
            # gather and not cross_entropy, which would pass over a label of -100 in silence
            log_likelihood = F.log_softmax(logits, dim=1).gather(1, labels[:, None])
            return -(self.temperature / self.base_temperature) * log_likelihood.mean()


class DisLoss(nn.Module):
    """Dispersion loss of CIDER: pushes class prototypes apart on the sphere (Ming et al. 2023, eq. 7).

    loss = (T / T_base) * mean_i log( 1/(C-1) * sum_{j != i} exp(mu_i . mu_j / T) )

    Args:
        prototypes: (C, D) unit rows; gradient flows through them. C >= 2.
    Returns:
        scalar; at least -1/T (times T / T_base), and negative is normal: it falls as the prototypes spread.
    Raises:
        ValueError: fewer than two classes, or not two-dimensional.
    """

    def __init__(self, temperature: float = 0.1, base_temperature: float = 0.1) -> None:
        super().__init__()
        self.temperature = temperature
        self.base_temperature = base_temperature

    def forward(self, prototypes: Tensor) -> Tensor:
        if prototypes.dim() != 2 or prototypes.shape[0] < 2:
            raise ValueError(f"prototypes must be (C, D) with C >= 2, not {tuple(prototypes.shape)}")
        with torch.autocast(prototypes.device.type, enabled=False):
            prototypes = _at_least_float32(prototypes)
            logits = prototypes @ prototypes.T / self.temperature  # C x C
            itself = torch.eye(len(prototypes), dtype=torch.bool, device=prototypes.device)
            log_sums = logits.masked_fill(itself, -torch.inf).logsumexp(dim=1)
            mean_log = log_sums.mean() - math.log(len(prototypes) - 1)
            return (self.temperature / self.base_temperature) * mean_log


class SupConLoss(nn.Module):
    """Supervised contrastive loss (Khosla et al. 2020, eq. 2), every view of every image as anchor.

    loss = -(T / T_base) * mean_i 1/|P(i)| sum_{p in P(i)} log( exp(z_i . z_p / T) / sum_{a != i} exp(z_i . z_a / T) )

    P(i) are the other views of the same class. An anchor without any adds nothing to the sum of the mean.

    Args:
        features: (N, V, D) unit rows, V views of N images.
        labels: (N,) class of each image.
    Returns:
        scalar.
    Raises:
        ValueError: features not three-dimensional, labels that do not fit, or fewer than two views in all.
    """

    def __init__(self, temperature: float = 0.1, base_temperature: float = 0.07) -> None:
        super().__init__()
        self.temperature = temperature
        self.base_temperature = base_temperature

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        if features.dim() != 3 or features.shape[0] * features.shape[1] < 2:
            raise ValueError(f"features must be (N, V, D) with N * V >= 2, not {tuple(features.shape)}")
        _check_labels(labels, features.shape[0])
        with torch.autocast(features.device.type, enabled=False):
            views = _at_least_float32(features).flatten(0, 1)  # NV x D
            classes = labels.repeat_interleave(features.shape[1])
            itself = torch.eye(len(views), dtype=torch.bool, device=views.device)
            positive = (classes[:, None] == classes) & ~itself
            logits = views @ views.T / self.temperature
            log_sums = logits.masked_fill(itself, -torch.inf).logsumexp(dim=1)
            count = positive.sum(dim=1)
            mean_positive = (logits * positive).sum(dim=1) / count.clamp(min=1)
            log_likelihood = torch.where(count > 0, mean_positive - log_sums, 0.0)
            return -(self.temperature / self.base_temperature) * log_likelihood.mean()


def _check_labels(labels: Tensor, count: int) -> None:
    if count == 0 or labels.shape != (count,):
        raise ValueError(f"each row needs a label, and there must be one: {count} rows, labels {tuple(labels.shape)}")


def _at_least_float32(x: Tensor) -> Tensor:
    """float64 stays: the tests check gradients in it."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
