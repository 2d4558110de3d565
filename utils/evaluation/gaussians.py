"""Scores by Gaussians fitted to ID training features: Mahalanobis distances and SSD. Larger = more in-distribution.

Each fit takes penultimate features (N, D) of ID train and gives the score as a function: (M, D) -> (M,), in float64.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

QUERY_BLOCK = 8192
FeatureScore = Callable[[Tensor], Tensor]


def fit_mahalanobis(features: Tensor, labels: Tensor, num_classes: int, *, unit: bool = False) -> FeatureScore:
    """Minus the squared Mahalanobis distance to the nearest class mean under the tied within-class covariance.

    Lee et al. 2018, eq. 1. Variances are taken to be at least what float64 can tell from none beside the largest one.

    Args:
        features: (N, D) penultimate features of ID train.    labels: (N,) in 0..C-1.
        unit: L2-normalise the features (Mahalanobis++, Mueller & Hein 2025).
    Raises:
        ValueError: a class without features.
    """
    features = _prepared(features, unit)
    means = _class_means(features, labels, num_classes)
    return _nearest(means, _whitening((features - means[labels]).T.cov(correction=0)), unit)


def fit_relative_mahalanobis(features: Tensor, labels: Tensor, num_classes: int, *, unit: bool = False) -> FeatureScore:
    """`fit_mahalanobis` less the same for one Gaussian around the mean of all features (RMD, Ren et al. 2021).

    Arguments and errors as there; with `unit` it is the relative form of Mahalanobis++.
    """
    of_classes = fit_mahalanobis(features, labels, num_classes, unit=unit)
    of_all = fit_mahalanobis(features, torch.zeros_like(labels), 1, unit=unit)
    return lambda queries: of_classes(queries) - of_all(queries)


def fit_official_mahalanobis(features: Tensor, labels: Tensor, num_classes: int) -> FeatureScore:
    """Mahalanobis as the official CIDER code has it: class means, but the covariance of all features around one mean.

    On L2-normalised features, with a pseudo-inverse. What separates classes counts as noise here, unlike in the paper
    that it is named after; it is no weak score for that. Arguments and errors as in `fit_mahalanobis`.
    """
    features = _prepared(features, True)
    means = _class_means(features, labels, num_classes)
    return _nearest(means, _whitening(features.T.cov(correction=0), drop=True), True)


def fit_ssd(features: Tensor) -> FeatureScore:
    """SSD (Sehwag et al. 2021) with one cluster: L2-normalise, z-score by the training set, one Gaussian."""
    features = _prepared(features, True)
    mean, std = features.mean(0), features.std(0, correction=0) + 1e-10
    whitening = _whitening(((features - mean) / std).T.cov(correction=0), drop=True)
    return _nearest(mean[None], whitening / std[:, None], True)


def _nearest(means: Tensor, whitening: Tensor, unit: bool) -> FeatureScore:
    """Minus the squared distance to the nearest mean (C, D), in coordinates where the covariance is the identity."""
    shift = means.mean(0)
    white_means = (means - shift) @ whitening

    @torch.no_grad()
    def score(features: Tensor) -> Tensor:
        scores = []
        for rows in features.split(QUERY_BLOCK):
            white = (_prepared(rows, unit) - shift) @ whitening
            # From differences: the expanded square would lose digits where features lie close to their mean.
            scores.append(-torch.stack([(white - mean).square().sum(1) for mean in white_means]).amin(0))
        return torch.cat(scores)

    return score


def _prepared(features: Tensor, unit: bool) -> Tensor:
    return F.normalize(features.double(), dim=1) if unit else features.double()


def _class_means(features: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    counts = torch.bincount(labels, minlength=num_classes)
    if (counts == 0).any():
        raise ValueError(f"{int((counts == 0).sum())} of {num_classes} classes have no features to fit a Gaussian to")
    sums = features.new_zeros(num_classes, features.shape[1]).index_add_(0, labels, features)
    return sums / counts[:, None]


def _whitening(covariance: Tensor, *, drop: bool = False) -> Tensor:
    """(D, R) W with W W^T = inverse of the covariance, in whose eigenvalues float64 has an error of this `rounding`.

    Directions of less variance are dropped, as by a pseudo-inverse, or taken to have that much.
    """
    values, vectors = torch.linalg.eigh(covariance)
    # A network that maps everything to one point has no variance at all.
    finest = torch.finfo(values.dtype)
    rounding = (values.amax() * len(values) * finest.eps).clamp_min(finest.tiny)
    if drop:
        kept = values > rounding
        values, vectors = values[kept], vectors[:, kept]
    return vectors / values.clamp_min(rounding).sqrt()
