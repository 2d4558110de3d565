"""Scores on features and logits: larger = more in-distribution, everywhere."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from utils.evaluation.arrays import ArrayLike, to_tensor
from utils.evaluation.knn_search import knn_search
from utils.losses import log_weighted_sum_exp


def knn_score(bank: ArrayLike, queries: ArrayLike, k: int) -> Tensor:
    """KNN score (Sun et al. 2022), which CIDER is evaluated with: minus the squared L2 distance to the k-th nearest.

    The paper's features are L2-normalised penultimate ones; nothing is normalised here.

    Args:
        bank: (M, D) features of ID training images; float16 is searched in float32.
        queries: (N, D).
        k: 1 <= k <= M.
    Returns:
        (N,) float32 (float64 where an input is), detached, on the device of `queries`; at most 0, larger = more ID.
        A query with NaN scores NaN, one with an infinite value -inf.
    Raises:
        ValueError: k out of range, shapes that do not fit, or a bank that is not finite.
    """
    return knn_search(bank, queries, (k,)).scores[:, 0]


def discrepancy_score(logits1: ArrayLike, logits2: ArrayLike) -> Tensor:
    """Score of MCD (Yu and Aizawa 2019): minus the L1 distance between the softmax outputs of the two heads.

    0 where the heads agree, -(2 - 2/C) where one is flat and the other sure (which MCD trains for OOD), at least -2.

    Args:
        logits1, logits2: (N, C) of head 1 and of head 2.
    Returns:
        (N,), detached, on the device of the inputs; larger = more ID.
    """
    first, second = (to_tensor(logits) for logits in (logits1, logits2))
    if first.ndim != 2 or first.shape != second.shape:
        raise ValueError(f"logits of both heads must be (N, C), not {tuple(first.shape)} and {tuple(second.shape)}")
    dtype = torch.promote_types(first.dtype, torch.float32)
    return -(first.softmax(1, dtype=dtype) - second.softmax(1, dtype=dtype)).abs().sum(1)


def energy_score(logits: Tensor) -> Tensor:
    """Minus the energy, log sum_k exp f_k (Liu et al. 2020): the test score of the VOS paper. (N, C) -> (N,)"""
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).logsumexp(dim=1)


def msp_score(logits: Tensor) -> Tensor:
    """Logit of the largest softmax probability (Hendrycks and Gimpel 2017), in whose order it is. (N, C) -> (N,)"""
    top, others = logits.double().sort(dim=1, descending=True).values.split([1, logits.shape[1] - 1], dim=1)
    return (top[:, 0] - others.logsumexp(dim=1)).float()  # log p - log(1 - p)


def logistic_score(logits: Tensor, energy: Tensor, logistic: nn.Linear) -> Tensor:
    """Log-odds of ID by VOS's learned head on the weighted energy. (N, C), energy weights (C,) -> (N,)"""
    outputs = logistic(log_weighted_sum_exp(logits, energy)[:, None])  # N x 2: outlier, ID
    return outputs[:, 1] - outputs[:, 0]


def majority_vote(labels: ArrayLike, indices: ArrayLike) -> Tensor:
    """Class that most of a query's neighbours have: KNN classification without weights; a tie goes to the lower class.

    Args:
        labels: (M,) classes of the bank's rows.    indices: (N, k) rows of the bank.
    """
    labels = to_tensor(labels)
    classes = labels[to_tensor(indices)]
    votes = torch.zeros(len(classes), int(labels.max()) + 1, device=classes.device)
    return votes.scatter_add_(1, classes, torch.ones((), device=classes.device).expand_as(classes)).argmax(1)


def nearest_prototype(embedding: ArrayLike, prototypes: ArrayLike) -> Tensor:
    """Class of the prototype with the largest cosine: the most likely class of CIDER's vMF mixture.

    Args:
        embedding: (N, D) outputs of the projection head.    prototypes: (C, D).
    """
    prototypes = F.normalize(to_tensor(prototypes).float(), dim=1)
    return (to_tensor(embedding).float() @ prototypes.T).argmax(1)


def prototype_score(embedding: ArrayLike, prototypes: ArrayLike) -> Tensor:
    """Largest cosine to a prototype, (N,) float32, detached; arguments as in `nearest_prototype`, of any length."""
    embedding = F.normalize(to_tensor(embedding).float(), dim=1)
    prototypes = F.normalize(to_tensor(prototypes).float(), dim=1).to(embedding.device)
    return (embedding @ prototypes.T).amax(1)
