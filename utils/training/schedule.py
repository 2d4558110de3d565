"""Learning rate as one pure function of the step."""

import math
from collections.abc import Sequence

WARMUPS = ("linear", "reference", "none")
WARMUP_FROM = 0.001


def learning_rate(
    epoch: int,
    batch: int,
    batches_per_epoch: int,
    *,
    base_lr: float,
    epochs: int,
    cosine: bool,
    decay_epochs: Sequence[int],
    decay_rate: float,
    warmup: str,
    warmup_epochs: int = 10,
    cosine_to: float | None = None,
) -> float:
    """Learning rate of one step, epochs and batches counted from 0 (the schedule of SupContrast and CIDER).

    Cosine: from base_lr down to base_lr * decay_rate**3 at `epochs`. Otherwise base_lr times decay_rate for every one
    of `decay_epochs` that is smaller than `epoch`. Both change once an epoch; the warm-up changes with every batch,
    from 0.001 to the cosine's value at `warmup_epochs`, or to base_lr without cosine.

    Args:
        cosine_to: the cosine of VOS, which changes with every batch and ends at this rate; None for the above.
        warmup: "linear": the ramp over epochs 0 .. warmup_epochs-1. "reference": that of the official code, which takes
            epochs to start at 1 though they start at 0, so that the ramp lasts an epoch more and the rate is negative
            in the first. "none": no ramp, as for warmup_epochs = 0.
        warmup_epochs: where it is larger than `epochs`, the linear ramp heads for base_lr and the run ends on its way
            there. Where the two are equal the ramp ends at the lowest value of the cosine: choose a shorter one.
    Raises:
        ValueError: an unknown warm-up.
    """
    if warmup not in WARMUPS:
        raise ValueError(f"unknown warmup {warmup!r}; choose from {', '.join(WARMUPS)}")

    def cosine_at(position: float) -> float:
        lowest = base_lr * decay_rate**3 if cosine_to is None else cosine_to
        return lowest + (base_lr - lowest) * (1 + math.cos(math.pi * position / epochs)) / 2

    passed = epoch + batch / batches_per_epoch
    if warmup == "reference" and 0 < warmup_epochs and epoch <= warmup_epochs:
        target = cosine_at(warmup_epochs) if cosine else base_lr
        return WARMUP_FROM + (passed - 1) / warmup_epochs * (target - WARMUP_FROM)
    if warmup == "linear" and epoch < warmup_epochs:
        target = cosine_at(warmup_epochs) if cosine and warmup_epochs <= epochs else base_lr
        return WARMUP_FROM + passed / warmup_epochs * (target - WARMUP_FROM)
    if cosine:
        return cosine_at(epoch if cosine_to is None else passed)
    return base_lr * decay_rate ** sum(epoch > decay_epoch for decay_epoch in decay_epochs)
