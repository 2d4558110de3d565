"""KNN accuracy on a part of the ID set: a look at the encoder during training, in seconds."""

import torch
from torch import nn
from torch.nn import functional as F

from utils.evaluation.features import extract
from utils.evaluation.knn_search import knn_search
from utils.evaluation.metrics import accuracy
from utils.evaluation.scores import majority_vote

BANK, QUERIES = 10_000, 2_000


def knn_accuracy(
    model: nn.Module, train, test, *, mean, std, device: torch.device, workers: int = 0, k: int = 20
) -> float:
    """Share of ID test images whose K nearest ID training images mostly have their class, on penultimate features.

    At most 10,000 training and 2,000 test images, spread evenly over each set.

    Args:
        train, test: utils.data.images.ImageSet with labels.
        mean, std: of the channels, as fractions of 1.
    """
    features = []
    for images, limit in ((train, BANK), (test, QUERIES)):
        rows = torch.linspace(0, len(images) - 1, min(limit, len(images))).long()
        found = extract(model, images.subset(rows), mean=mean, std=std, device=device, workers=workers)
        features.append((F.normalize(found.outputs["penultimate"], dim=1), images.labels[rows]))
    (bank, bank_labels), (queries, labels) = features
    neighbours = knn_search(bank, queries, (min(k, len(bank)),)).indices
    return accuracy(majority_vote(bank_labels, neighbours), labels)
