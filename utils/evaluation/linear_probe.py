"""ID accuracy of a linear classifier on the frozen encoder, by the recipe of SupContrast (Khosla et al. 2020)."""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from utils.data.augment import TwoViews
from utils.data.batches import TrainBatches
from utils.data.id_sets import IDData
from utils.data.order import batch_sizes
from utils.evaluation.features import AMP_TYPES, Features, layout_of
from utils.evaluation.metrics import accuracy

EPOCHS = 100
BATCH_SIZE = 512
LEARNING_RATE = 5.0
DECAY_EPOCHS = (60, 75, 90)
DECAY_RATE = 0.2
MOMENTUM = 0.9

# Number of an epoch -> its batches of features (B, D) and labels (B,).
Batches = Callable[[int], Iterable[tuple[Tensor, Tensor]]]


class OneView(TwoViews):
    """Of the two views' augmentation what SupCon's probe has: one random crop, mirrored or not, in its own colours."""

    views = 1
    jitter_probability = 0.0
    grey_probability = 0.0


def cached_batches(features: Tensor, labels: Tensor, *, seed: int, batch_size: int = BATCH_SIZE) -> Batches:
    """Batches of (N, D) penultimate features that are there, and labels, in a new order every epoch."""
    sizes = batch_sizes(len(features), batch_size)

    def epoch(number: int) -> Iterator[tuple[Tensor, Tensor]]:
        # Drawn on the CPU, so that every device sees the same order.
        order = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed * EPOCHS + number))
        for rows in order.to(features.device).split(sizes):
            yield features[rows], labels[rows]

    return epoch


def augmented_batches(
    model: nn.Module,
    data: IDData,
    *,
    seed: int,
    device: torch.device,
    amp: str = "off",
    workers: int = 0,
) -> Batches:
    """Penultimate features of ID train under a new augmentation in every epoch: a pass through the encoder for each."""
    view = OneView(data.size, crop_scale=data.crop_scale, hflip=data.hflip, mean=data.mean, std=data.std)
    last = layout_of(model) is torch.channels_last
    images = TrainBatches(
        data.train, view, batch_size=BATCH_SIZE, seed=seed, device=device, workers=workers, channels_last=last
    )

    def epoch(number: int) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in images.epoch(number):
            with torch.no_grad(), torch.autocast(device.type, dtype=AMP_TYPES[amp], enabled=amp != "off"):
                features = model.outputs(batch.images)["penultimate"]
            yield features, batch.labels

    return epoch


def train_probe(batches: Batches, dim: int, num_classes: int, *, seed: int, device: torch.device | str) -> nn.Linear:
    """Train a linear classifier: SGD with momentum 0.9 and no weight decay, rate 5, times 0.2 after 60, 75, 90 of 100.

    Args:
        dim: D, of the features.    seed: of the initial weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = nn.Linear(dim, num_classes).to(device)
    optimizer = torch.optim.SGD(classifier.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, DECAY_EPOCHS, DECAY_RATE)
    # By images, since an epoch with a pass through the network can take minutes.
    with tqdm(desc="linear probe: epoch 1", unit="img", unit_scale=True, leave=False, disable=None) as progress:
        for epoch in range(EPOCHS):
            progress.set_description(f"linear probe: epoch {epoch + 1}/{EPOCHS}")
            for features, labels in batches(epoch):
                optimizer.zero_grad()
                F.cross_entropy(classifier(features), labels).backward()
                optimizer.step()
                progress.update(len(labels))
            schedule.step()
    return classifier.requires_grad_(False)


def probe_accuracy(
    train: Features, test: Features, num_classes: int, *, seed: int, device: torch.device, batches: Batches | None
) -> float:
    """ID accuracy of a linear classifier on penultimate features, trained on `batches` or else on those of `train`."""
    train = train.to(device)
    rows = train.outputs["penultimate"]
    batches = batches or cached_batches(rows, train.labels, seed=seed)
    classifier = train_probe(batches, rows.shape[1], num_classes, seed=seed, device=device)
    return accuracy(classifier(test.to(device).outputs["penultimate"]).argmax(1), test.labels)
