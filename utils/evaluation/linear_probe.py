"""Accuracy of a linear classifier on frozen features, by the recipe of SupContrast (Khosla et al. 2020)."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from utils.data.order import batch_sizes

EPOCHS = 100
BATCH_SIZE = 512
LEARNING_RATE = 5.0
DECAY_EPOCHS = (60, 75, 90)
DECAY_RATE = 0.2
MOMENTUM = 0.9

# Number of an epoch -> its batches of features (B, D) and labels (B,).
Batches = Callable[[int], Iterable[tuple[Tensor, Tensor]]]


def cached_batches(features: Tensor, labels: Tensor, *, seed: int, batch_size: int = BATCH_SIZE) -> Batches:
    """Batches of features that are there, in a new order every epoch; a rest is a batch, unless it is one image.

    Args:
        features: (N, D) penultimate features of ID train, as the encoder gives them.    labels: (N,), same device.
    """

    sizes = batch_sizes(len(features), batch_size)

    def epoch(number: int) -> Iterable[tuple[Tensor, Tensor]]:
        # Drawn on the CPU, so that every device sees the same order.
        order = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed * EPOCHS + number))
        for rows in order.to(features.device).split(sizes):
            yield features[rows], labels[rows]

    return epoch


def train_probe(
    batches: Batches, dim: int, num_classes: int, *, seed: int, device: torch.device | str, epochs: int = EPOCHS
) -> nn.Linear:
    """Train a linear classifier: SGD with momentum 0.9 and no weight decay, rate 5, times 0.2 after 60, 75, 90 of 100.

    Args:
        dim: D, of the features.    seed: of the initial weights.
    Returns:
        the classifier, on `device`, in need of no gradient.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = nn.Linear(dim, num_classes).to(device)
    optimizer = torch.optim.SGD(classifier.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    # By images, since an epoch with a pass through the network can take minutes.
    with tqdm(desc="linear probe: epoch 1", unit="img", unit_scale=True, leave=False, disable=None) as progress:
        for epoch in range(epochs):
            progress.set_description(f"linear probe: epoch {epoch + 1}/{epochs}")
            passed = sum(epoch >= decay * epochs / EPOCHS for decay in DECAY_EPOCHS)
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * DECAY_RATE**passed
            for features, labels in batches(epoch):
                optimizer.zero_grad()
                F.cross_entropy(classifier(features), labels).backward()
                optimizer.step()
                progress.update(len(labels))
    return classifier.requires_grad_(False)
