"""The linear probe of an evaluation: a classifier on the frozen encoder, on features that are there or augmented."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from utils.data.augment import TwoViews
from utils.data.batches import TrainBatches
from utils.data.id_sets import IDData
from utils.evaluation.features import Features
from utils.evaluation.linear_probe import BATCH_SIZE, Batches, cached_batches, train_probe
from utils.evaluation.metrics import accuracy


class OneView(TwoViews):
    """Of the two views' augmentation what SupCon's probe has: one random crop, mirrored or not, in its own colours."""

    views = 1
    jitter_probability = 0.0
    grey_probability = 0.0


def probe_accuracy(
    train: Features,
    test: Features,
    num_classes: int,
    *,
    seed: int,
    device: torch.device,
    batches: Batches | None = None,
) -> float:
    """ID accuracy of a linear classifier on penultimate features, not normalised.

    Args:
        batches: what it is trained on; None for the features of `train`.
    """
    features = train.outputs["penultimate"]
    if batches is None:
        batches = cached_batches(features.to(device), train.labels.to(device), seed=seed)
    classifier = train_probe(batches, features.shape[1], num_classes, seed=seed, device=device)
    return accuracy(classifier(test.outputs["penultimate"].to(device)).argmax(1), test.labels)


def augmented_batches(
    model: nn.Module,
    data: IDData,
    *,
    seed: int,
    device: torch.device,
    amp_type: torch.dtype | None,
    workers: int,
    channels_last: bool,
) -> Batches:
    """Penultimate features of ID train under a new augmentation in every epoch: a pass through the encoder for each."""
    view = OneView(data.size, crop_scale=data.crop_scale, hflip=data.hflip, mean=data.mean, std=data.std)
    images = TrainBatches(
        data.train, view, batch_size=BATCH_SIZE, seed=seed, device=device, workers=workers, channels_last=channels_last
    )

    def epoch(number: int) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in images.epoch(number):
            with torch.no_grad(), torch.autocast(device.type, dtype=amp_type, enabled=amp_type is not None):
                features = model.outputs(batch.images)["penultimate"]
            yield features, batch.labels

    return epoch
