"""Scores by Gaussians fitted to ID training features: Mahalanobis distances and SSD. Larger = more in-distribution."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

# Share of the mean variance that is added to the diagonal, so that directions without variance do not break Cholesky.
RIDGE = 1e-6
QUERY_BLOCK = 8192


@dataclass(frozen=True)
class Gaussians:
    """C Gaussians with one covariance, in coordinates in which it is the identity: x -> (x - shift) @ whitening.

    shift: (D,).    whitening: (D, R).    means: (C, R) in the new coordinates. All float64.
    unit: features are L2-normalised first.
    """

    shift: Tensor
    whitening: Tensor
    means: Tensor
    unit: bool

    @torch.no_grad()
    def score(self, features: Tensor) -> Tensor:
        """Minus the squared Mahalanobis distance of features (N, D) to the nearest mean: (N,) float64."""
        scores = []
        for rows in features.split(QUERY_BLOCK):
            white = (_prepared(rows, self.unit) - self.shift) @ self.whitening
            # From differences: the expanded square would lose digits where features lie close to their mean.
            nearest = torch.stack([(white - mean).square().sum(1) for mean in self.means]).amin(0)
            scores.append(-nearest)
        return torch.cat(scores)


def fit_mahalanobis(features: Tensor, labels: Tensor, num_classes: int, *, unit: bool = False) -> Gaussians:
    """Class means and the tied within-class covariance (Lee et al. 2018, eq. 1), in float64 with a ridge and Cholesky.

    Args:
        features: (N, D) penultimate features of ID train.    labels: (N,) in 0..C-1.
        unit: L2-normalise the features (Mahalanobis++, Mueller & Hein 2025).
    Raises:
        ValueError: a class without features.
    """
    features = _prepared(features, unit)
    means = _class_means(features, labels, num_classes)
    residuals = features - means[labels]
    whitening = _whitening_by_cholesky(residuals.T @ residuals / len(features))
    shift = features.mean(0)
    return Gaussians(shift, whitening, (means - shift) @ whitening, unit)


def fit_official_mahalanobis(features: Tensor, labels: Tensor, num_classes: int) -> Gaussians:
    """Mahalanobis as the official CIDER code has it: class means, but the covariance of all features around one mean.

    On L2-normalised features, with a pseudo-inverse. What separates classes counts as noise here, which makes it a weak
    score; `fit_mahalanobis` is the one of the paper that it is named after. Arguments and errors as there.
    """
    features = _prepared(features, True)
    means = _class_means(features, labels, num_classes)
    shift = features.mean(0)
    whitening = _whitening_by_pseudo_inverse((features - shift).T.cov(correction=0))
    return Gaussians(shift, whitening, (means - shift) @ whitening, unit=True)


def fit_ssd(features: Tensor) -> Gaussians:
    """SSD (Sehwag et al. 2021) with one cluster: L2-normalise, z-score by the training set, one Gaussian.

    Args:
        features: (N, D) penultimate features of ID train; labels are not needed.
    """
    features = _prepared(features, True)
    shift, std = features.mean(0), features.std(0, correction=0) + 1e-10
    whitening = _whitening_by_pseudo_inverse(((features - shift) / std).T.cov(correction=0)) / std[:, None]
    return Gaussians(shift, whitening, whitening.new_zeros(1, whitening.shape[1]), unit=True)


def _prepared(features: Tensor, unit: bool) -> Tensor:
    return F.normalize(features.double(), dim=1) if unit else features.double()


def _class_means(features: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    counts = torch.bincount(labels, minlength=num_classes)
    if (counts == 0).any():
        raise ValueError(f"{int((counts == 0).sum())} of {num_classes} classes have no features to fit a Gaussian to")
    sums = features.new_zeros(num_classes, features.shape[1]).index_add_(0, labels, features)
    return sums / counts[:, None]


def _whitening_by_cholesky(covariance: Tensor) -> Tensor:
    """(D, D) W with W W^T = inverse of the covariance with a ridge."""
    # A network that maps everything to one point has no variance at all.
    ridge = (RIDGE * covariance.diagonal().mean()).clamp_min(torch.finfo(covariance.dtype).tiny)
    identity = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    root = torch.linalg.cholesky(covariance + ridge * identity)
    return torch.linalg.solve_triangular(root, identity, upper=False).T


def _whitening_by_pseudo_inverse(covariance: Tensor) -> Tensor:
    """(D, R) W with W W^T = pseudo-inverse of the covariance, R its rank."""
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > values.amax() * len(values) * torch.finfo(values.dtype).eps
    return vectors[:, kept] / values[kept].sqrt()
