"""Losses of the methods: formulas only, nothing of the project imported. Inside autocast they compute in float32."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class _ScaledLoss(nn.Module):
    """A loss of temperature T that is scaled by T / T_base."""

    def __init__(self, temperature: float = 0.1, base_temperature: float = 0.07) -> None:
        super().__init__()
        self.temperature, self.scale = temperature, temperature / base_temperature


class CompLoss(_ScaledLoss):
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

    def forward(self, features: Tensor, prototypes: Tensor, labels: Tensor) -> Tensor:
        if features.dim() != 2 or prototypes.dim() != 2 or features.shape[1] != prototypes.shape[1]:
            raise _misfit(features=features, prototypes=prototypes)
        _check_labels(labels, features.shape[0])
        with torch.autocast(features.device.type, enabled=False):
            scaled = _at_least_float32(prototypes) / self.temperature  # fewer numbers than there are logits
            logits = _at_least_float32(features) @ scaled.T  # N x C
            # gather and not cross_entropy, which would pass over a label of -100 in silence
            return -self.scale * F.log_softmax(logits, dim=1).gather(1, labels[:, None]).mean()


class DisLoss(_ScaledLoss):
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
        super().__init__(temperature, base_temperature)

    def forward(self, prototypes: Tensor) -> Tensor:
        if prototypes.dim() != 2 or prototypes.shape[0] < 2:
            raise ValueError(f"prototypes must be (C, D) with C >= 2, not {tuple(prototypes.shape)}")
        with torch.autocast(prototypes.device.type, enabled=False):
            _, _, log_sums = _pairs(_at_least_float32(prototypes), self.temperature)
            return self.scale * (log_sums.mean() - math.log(len(prototypes) - 1))


class SupConLoss(_ScaledLoss):
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

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        if features.dim() != 3 or features.shape[0] * features.shape[1] < 2:
            raise ValueError(f"features must be (N, V, D) with N * V >= 2, not {tuple(features.shape)}")
        _check_labels(labels, features.shape[0])
        with torch.autocast(features.device.type, enabled=False):
            views = _at_least_float32(features).flatten(0, 1)  # NV x D
            classes = labels.repeat_interleave(features.shape[1])
            mean_same, log_sums, count = _contrast(views, classes, self.temperature)
            return -self.scale * torch.where(count > 0, mean_same - log_sums, 0.0).mean()


class MixtureLikelihoodLoss(nn.Module):
    """Maximum-likelihood loss of PALM: an embedding under the mixture of its class's prototypes (Lu et al. 2024).

    loss = -mean_i [ sum_j w_ij z_i . p_j / T - log sum_j exp(z_i . p_j / T) ]

    Args:
        features: (N, D) unit rows.
        prototypes: (M, D) unit rows; PALM passes them detached.
        weights: (N, M) share of each prototype in a row, as `MixturePrototypes.update` gives it.
    Returns:
        scalar >= 0.
    Raises:
        ValueError: shapes that do not fit together, or an empty batch.
    """

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, features: Tensor, prototypes: Tensor, weights: Tensor) -> Tensor:
        shape = (len(features), len(prototypes))
        if features.shape[1:] != prototypes.shape[1:] or weights.shape != shape or 0 in shape:
            raise _misfit(features=features, prototypes=prototypes, weights=weights)
        with torch.autocast(features.device.type, enabled=False):
            logits = _at_least_float32(features) @ (_at_least_float32(prototypes) / self.temperature).T  # N x M
            return (logits.logsumexp(dim=1) - (weights * logits).sum(dim=1)).mean()


class PrototypeContrastLoss(nn.Module):
    """Contrastive loss of PALM between prototypes: those of one class draw together (Lu et al. 2024).

    loss = -mean_j [ mean_{i in C(j), i != j} p_j . p_i / T - log sum_{i != j} exp(p_j . p_i / T) ]

    Prototype j is of class j mod C; with one prototype a class the first term is 0 and all are only pushed apart.

    Args:
        prototypes: (C * P, D) unit rows; gradient flows through them.    num_classes: C.
    Returns:
        scalar.
    Raises:
        ValueError: a number of prototypes that is no multiple of C, or a single prototype.
    """

    def __init__(self, num_classes: int, temperature: float = 0.5) -> None:
        super().__init__()
        self.num_classes, self.temperature = num_classes, temperature

    def forward(self, prototypes: Tensor) -> Tensor:
        count = len(prototypes)
        if prototypes.dim() != 2 or count < 2 or count % self.num_classes:
            shape = tuple(prototypes.shape)
            raise ValueError(f"prototypes {shape} are not as many for each of {self.num_classes} classes")
        with torch.autocast(prototypes.device.type, enabled=False):
            classes = torch.arange(count, device=prototypes.device) % self.num_classes
            mean_same, log_sums, _ = _contrast(_at_least_float32(prototypes), classes, self.temperature)
            return (log_sums - mean_same).mean()


def log_weighted_sum_exp(logits: Tensor, weight: Tensor) -> Tensor:
    """Score of VOS, minus the weighted energy: larger = more in-distribution (Du et al. 2022, eq. 6).

    s = log sum_k relu(w_k) exp(f_k)

    Args:
        logits: (N, C).
        weight: (C,); a class whose weight is not positive has no part in the score, nor a gradient.
    Returns:
        (N,); -inf where no weight is positive.
    Raises:
        ValueError: shapes that do not fit.
    """
    if logits.dim() != 2 or weight.shape != logits.shape[1:]:
        raise _misfit(logits=logits, weight=weight)
    with torch.autocast(logits.device.type, enabled=False):
        active = weight > 0
        # The inner where keeps log(0), whose gradient would be NaN, out of the graph.
        log_weight = torch.where(active, weight, 1.0).log().masked_fill(~active, -torch.inf)
        return (_at_least_float32(logits) + log_weight).logsumexp(dim=1)


def uncertainty_loss(id_scores: Tensor, outlier_scores: Tensor, logistic: nn.Linear) -> Tensor:
    """Uncertainty loss of VOS: tells ID images from virtual outliers by their score (Du et al. 2022, eq. 5).

    One cross-entropy, the mean over ID images (class 1) and virtual outliers (class 0) together.

    Args:
        id_scores: (N,), outlier_scores: (M,) of `log_weighted_sum_exp`.
        logistic: nn.Linear(1, 2) from a score to the logits of outlier and ID.
    Returns:
        scalar >= 0.
    Raises:
        ValueError: scores that are not one-dimensional, or none of either kind.
    """
    if id_scores.dim() != 1 or outlier_scores.dim() != 1 or 0 in (len(id_scores), len(outlier_scores)):
        shapes = f"{tuple(id_scores.shape)} and {tuple(outlier_scores.shape)}"
        raise ValueError(f"scores of ID images and of outliers must be (N,) and (M,) and not empty, not {shapes}")
    with torch.autocast(id_scores.device.type, enabled=False):
        scores = torch.cat([_at_least_float32(id_scores), _at_least_float32(outlier_scores)])
        is_id = torch.arange(len(scores), device=scores.device) < len(id_scores)
        return F.cross_entropy(logistic(scores[:, None]), is_id.long())


def discrepancy_loss(logits1: Tensor, logits2: Tensor, margin: float = 1.2) -> Tensor:
    """Discrepancy loss of MCD on unlabelled images: drives the two heads apart (Yu and Aizawa 2019).

    loss = max( margin - mean_x [ H(p1(x)) - H(p2(x)) ], 0 ),  H(p) = - sum_k p_k log p_k

    Head 1 comes to say nothing (a flat output) and head 2 to be sure, where the labelled images leave them the choice:
    on OOD images. The margin is on the mean of the batch, in which ID images keep a difference near 0.

    Args:
        logits1, logits2: (N, C) of head 1 and of head 2.
        margin: 1.2 is the paper's; no mean can exceed log C, so with fewer than four classes the hinge never closes.
    Returns:
        scalar >= 0.
    Raises:
        ValueError: shapes that do not fit together, or an empty batch.
    """
    if logits1.dim() != 2 or logits1.shape != logits2.shape or len(logits1) == 0:
        shapes = f"{tuple(logits1.shape)} and {tuple(logits2.shape)}"
        raise ValueError(f"logits of both heads must be (N, C), N > 0, not {shapes}")
    with torch.autocast(logits1.device.type, enabled=False):
        return F.relu(margin - (_entropy(logits1) - _entropy(logits2)).mean())


def _entropy(logits: Tensor) -> Tensor:
    """Entropy of the softmax outputs over the classes, (N, C) -> (N,), in nats."""
    log_p = F.log_softmax(_at_least_float32(logits), dim=1)
    return -(log_p.exp() * log_p).sum(dim=1)


def _pairs(rows: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Of all pairs of rows z_i . z_j / T, and whether i = j, N x N; of each row log sum_{j != i} exp(z_i . z_j / T)."""
    logits = rows @ rows.T / temperature
    itself = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    return logits, itself, logits.masked_fill(itself, -torch.inf).logsumexp(dim=1)


def _contrast(rows: Tensor, classes: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Of each row the mean of z_i . z_j / T over the others of its class, 0 without; `_pairs`' sum; their number."""
    logits, itself, log_sums = _pairs(rows, temperature)
    same = (classes[:, None] == classes) & ~itself
    count = same.sum(dim=1)
    return (logits * same).sum(dim=1) / count.clamp(min=1), log_sums, count


def _check_labels(labels: Tensor, count: int) -> None:
    if count == 0 or labels.shape != (count,):
        raise ValueError(f"each row needs a label, and there must be one: {count} rows, labels {tuple(labels.shape)}")


def _misfit(**tensors: Tensor) -> ValueError:
    shapes = (f"{name} {tuple(tensor.shape)}" for name, tensor in tensors.items())
    return ValueError(f"{', '.join(shapes)} do not fit")


def _at_least_float32(x: Tensor) -> Tensor:
    """float64 stays: the tests check gradients in it."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
