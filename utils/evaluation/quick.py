"""KNN accuracy of an encoder, and a look at a network during training, in seconds."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from utils.data.generated import gaussian_noise, uniform_noise
from utils.data.id_sets import IDData
from utils.data.images import ImageSet, TensorImages
from utils.evaluation.features import Features, extract
from utils.evaluation.knn_search import knn_search
from utils.evaluation.metrics import accuracy, ood_metrics
from utils.evaluation.scores import knn_score, majority_vote

BANK, QUERIES, NOISE = 10_000, 2_000, 200  # images
K = 20
SEED = 1000  # of the noise, which is not that of the OOD sets of noise


def vote_accuracy(train: Features, test: Features, k: int) -> float:
    """Share of images whose K nearest ones of `train`, on unit penultimate features, mostly have their class."""
    nearest = knn_search(train.unit, test.unit, (min(k, len(train.labels)),)).indices
    return accuracy(majority_vote(train.labels, nearest), test.labels)


def quick_look(
    model: nn.Module, data: IDData, prototypes: Tensor | None, device: torch.device, workers: int = 0
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Figures and distributions on a part of ID train and test, spread evenly over each, and on noise; no OOD test set.

    Args:
        prototypes: (C, D) unit rows of the head's space, or of a mixture (C * P, D); None for none.
    Returns:
        id/knn_accuracy: `vote_accuracy`. noise/auroc: of ID test against noise by the distance to the K-th nearest
        training image, the mean of two kinds.
        Cosines (N,) of the embeddings of ID test to the prototype of their class, and to the nearest other.
    """

    def look(images: ImageSet, most: int) -> Features:
        rows = torch.linspace(0, len(images) - 1, min(most, len(images))).long()
        found = extract(model, images.subset(rows), mean=data.mean, std=data.std, device=device, workers=workers)
        return found.to(device)

    def scores(features: Features) -> Tensor:
        return knn_score(train.unit, features.unit, min(K, len(train.labels)))

    train, test = look(data.train, BANK), look(data.test, QUERIES)
    id_scores = scores(test)
    noises = [TensorImages("noise", make(NOISE, data.size, SEED)) for make in (uniform_noise, gaussian_noise)]
    aurocs = [ood_metrics(id_scores, scores(look(images, NOISE)))["auroc"] for images in noises]
    figures = {"id/knn_accuracy": vote_accuracy(train, test, K), "noise/auroc": sum(aurocs) / len(aurocs)}
    if prototypes is None:
        return figures, {}
    embedding, labels = test.outputs["embedding"].cpu(), test.labels.cpu()
    cosines = (embedding @ prototypes.cpu().T).view(len(labels), -1, len(data.class_names)).amax(1)  # N x C
    own = F.one_hot(labels, len(data.class_names)).bool()
    other = cosines.masked_fill(own, -torch.inf).amax(1)
    return figures, {"cosine/own-prototype": cosines[own], "cosine/nearest-other": other}
