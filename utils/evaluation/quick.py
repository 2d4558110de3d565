"""KNN accuracy of an encoder: of features that are there, and on a part of the ID set in seconds, during training."""

import torch
from torch import nn
from torch.nn import functional as F

from utils.evaluation.features import Features, extract
from utils.evaluation.knn_search import knn_search
from utils.evaluation.metrics import accuracy
from utils.evaluation.scores import majority_vote

BANK, QUERIES = 10_000, 2_000


def vote_accuracy(train: Features, test: Features, k: int) -> float:
    """Share of images whose K nearest ones of `train`, on unit penultimate features, mostly have their class."""
    bank, queries = (F.normalize(each.outputs["penultimate"], dim=1) for each in (train, test))
    return accuracy(majority_vote(train.labels, knn_search(bank, queries, (min(k, len(bank)),)).indices), test.labels)


def knn_accuracy(
    model: nn.Module, train, test, *, mean, std, device: torch.device, workers: int = 0, k: int = 20
) -> float:
    """`vote_accuracy` of at most 10,000 training and 2,000 test images, spread evenly over each set.

    Args:
        train, test: utils.data.images.ImageSet with labels.    mean, std: of the channels, as fractions of 1.
    """
    features = []
    for images, limit in ((train, BANK), (test, QUERIES)):
        rows = torch.linspace(0, len(images) - 1, min(limit, len(images))).long()
        features.append(extract(model, images.subset(rows), mean=mean, std=std, device=device, workers=workers))
    return vote_accuracy(*(each.to(device) for each in features), k)
