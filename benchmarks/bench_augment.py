"""The two CIDER views of a batch, against torchvision's transforms on PIL images; one CPU core for both."""

import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms

from benchmarks.rows import make_row
from benchmarks.timing import interleaved_medians, one_thread
from utils.data.augment import TwoViews
from utils.data.order import augmentation_generator

SIZE, RUNS = 32, 7
CROP_SCALE = (0.2, 1.0)
MEAN, STD = (0.491, 0.482, 0.447), (0.247, 0.244, 0.262)
CPU_TARGET = 10.0  # times faster than torchvision; on a GPU the share of the step counts, see bench_step


def measure(device: torch.device, *, quick: bool = False) -> list[dict]:
    """One row, drawing included. torchvision starts from decoded images in memory, whatever `device` is."""
    with one_thread():
        return [_two_views(device, 16 if quick else 512)]


def _two_views(device: torch.device, count: int) -> dict:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)
    pil_images = [Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()) for image in images]
    on_device = images.to(device)
    augmentation = TwoViews(SIZE, crop_scale=CROP_SCALE, hflip=True, mean=MEAN, std=STD)
    transform = torchvision_transform()

    def ours() -> Tensor:
        return augmentation.apply(on_device, augmentation.draw(count, augmentation_generator(0, 0)))

    def baseline() -> Tensor:
        return torch.stack([transform(image) for _ in range(augmentation.views) for image in pil_images])

    ours_ms, baseline_ms = interleaved_medians([ours, baseline], device, runs=RUNS, warm_up=1)
    views_per_second = (1000 * augmentation.views * count / ms for ms in (ours_ms, baseline_ms))
    return make_row(
        f"two views of {count} images of {SIZE} x {SIZE}",
        ours_ms,
        "torchvision's transforms, PIL, one core",
        baseline_ms,
        times_as_fast=None if device.type == "cuda" else CPU_TARGET,
        detail="{:,.0f} views/s, torchvision {:,.0f}".format(*views_per_second),
    )


def torchvision_transform() -> transforms.Compose:
    """The training transform of the official code."""
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(SIZE, scale=CROP_SCALE),
            transforms.RandomHorizontalFlip(),
            transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            transforms.RandomGrayscale(p=0.2),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
