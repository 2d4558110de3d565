"""Learning rate as one pure function of the step."""

import math

from utils.training.settings import RunSettings

WARMUPS = ("linear", "reference", "none")
WARMUP_FROM = 0.001


def learning_rate(
    settings: RunSettings, epoch: int, batch: int, batches_per_epoch: int, *, cosine_to: float | None = None
) -> float:
    """Learning rate of one step, epochs and batches counted from 0 (the schedule of SupContrast and CIDER).

    Cosine: from base_lr, the `learning_rate` of the settings, down to base_lr * lr_decay_rate**3 at `epochs`. Otherwise
    base_lr times lr_decay_rate for every one of `lr_decay_epochs` that is smaller than `epoch`. Both change once an
    epoch; the warm-up changes with every batch, from 0.001 to the cosine's value at `warmup_epochs`, or to base_lr
    without cosine.

    Warm-up "linear": the ramp over epochs 0 .. warmup_epochs-1. Where warmup_epochs is larger than `epochs`, it heads
    for base_lr and the run ends on its way there; where the two are equal it ends at the lowest value of the cosine:
    choose a shorter one. "reference": that of the official code, which takes epochs to start at 1 though they start at
    0, so that the ramp lasts an epoch more and the rate is negative in the first. "none": no ramp, as for
    warmup_epochs = 0.

    Args:
        cosine_to: the cosine of VOS, which changes with every batch and ends at this rate; None for the above.
    Raises:
        ValueError: an unknown warm-up.
    """
    base_lr, decay_rate, cosine = settings.learning_rate, settings.lr_decay_rate, settings.cosine
    warmup, warmup_epochs = settings.warmup, settings.warmup_epochs
    if warmup not in WARMUPS:
        raise ValueError(f"unknown warmup {warmup!r}; choose from {', '.join(WARMUPS)}")

    def cosine_at(position: float) -> float:
        lowest = base_lr * decay_rate**3 if cosine_to is None else cosine_to
        return lowest + (base_lr - lowest) * (1 + math.cos(math.pi * position / settings.epochs)) / 2

    passed = epoch + batch / batches_per_epoch
    if warmup == "reference" and 0 < warmup_epochs and epoch <= warmup_epochs:
        target = cosine_at(warmup_epochs) if cosine else base_lr
        return WARMUP_FROM + (passed - 1) / warmup_epochs * (target - WARMUP_FROM)
    if warmup == "linear" and epoch < warmup_epochs:
        target = cosine_at(warmup_epochs) if cosine and warmup_epochs <= settings.epochs else base_lr
        return WARMUP_FROM + passed / warmup_epochs * (target - WARMUP_FROM)
    if cosine:
        return cosine_at(epoch if cosine_to is None else passed)
    return base_lr * decay_rate ** sum(epoch > decay_epoch for decay_epoch in settings.lr_decay_epochs)
