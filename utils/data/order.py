"""Which image comes when, and which random numbers an epoch gets: functions of a few numbers and of nothing else.

A run that is resumed, or spread over several processes, sees the same order and the same augmentations, because no
state is carried from one batch to the next.
"""

import hashlib

import torch


def epoch_order(seed: int, epoch: int, n: int) -> torch.Tensor:
    """Order in which epoch `epoch` visits `n` images: (n,) int64 permutation on the CPU."""
    return torch.randperm(n, generator=_generator("order", seed, epoch, n))


def batch_sizes(n: int, batch_size: int) -> list[int]:
    """Sizes of the batches of an epoch over `n` images; a last one of a single image joins the one before it.

    One image is no batch: batch norm has no statistics of it, a contrastive loss nothing to compare it with.
    """
    sizes = [min(batch_size, n - begin) for begin in range(0, n, batch_size)]
    if len(sizes) > 1 and sizes[-1] == 1 < batch_size:
        sizes[-2:] = [batch_size + 1]
    return sizes


def augmentation_generator(seed: int, epoch: int) -> torch.Generator:
    """CPU generator for the augmentation of all images of an epoch, in the order of their positions in it."""
    return _generator("augmentation", seed, epoch)


def outlier_generator(seed: int, epoch: int, block: int) -> torch.Generator:
    """CPU generator for the virtual outliers of a block of batches of an epoch, the same ones on every process."""
    return _generator("outliers", seed, epoch, block)


def image_generator(seed: int, epoch: int, position: int) -> torch.Generator:
    """CPU generator for the image at `position` of epoch `epoch`, where a loader cuts its crops one by one."""
    return _generator("image", seed, epoch, position)


def split_order(seed: int, n: int) -> torch.Tensor:
    """Order by which `n` images of a test set are dealt out to the lists of a split: (n,) int64 permutation."""
    return torch.randperm(n, generator=_generator("split", seed, n))


def _generator(purpose: str, *numbers: int) -> torch.Generator:
    # A hash, not a sum: seed 1 epoch 2 must not meet seed 2 epoch 1.
    digest = hashlib.sha256(":".join([purpose, *(str(int(number)) for number in numbers)]).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
