"""Time of the two CIDER views of a batch, against torchvision's transforms on PIL images; one thread for both.

    python -m benchmarks.bench_augment [--device cuda]
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms

from utils.data.augment import TwoViews
from utils.data.order import batch_generator

IMAGES, SIZE, RUNS = 512, 32, 7
CROP_SCALE = (0.2, 1.0)
MEAN, STD = (0.491, 0.482, 0.447), (0.247, 0.244, 0.262)
TARGET = 10.0  # times faster than torchvision on one core


def measure(device: str | torch.device = "cpu") -> list[dict]:
    """Median milliseconds for 1,024 views, drawing included; `ratio` is baseline_ms / ours_ms.

    torchvision's transforms run on one CPU core whatever `device` is, from decoded images in memory.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [_two_views(torch.device(device))]
    finally:
        torch.set_num_threads(threads)


def _two_views(device: torch.device) -> dict:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (IMAGES, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)
    pil_images = [Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()) for image in images]
    on_device = images.to(device)
    augmentation = TwoViews(SIZE, crop_scale=CROP_SCALE, hflip=True, mean=MEAN, std=STD)
    transform = torchvision_transform()

    def ours() -> Tensor:
        return augmentation.apply(on_device, augmentation.draw(IMAGES, batch_generator(0, 0, 0)))

    def baseline() -> Tensor:
        return torch.stack([transform(image) for _ in range(augmentation.views) for image in pil_images])

    ours_ms, baseline_ms = _interleaved_medians(ours, baseline, device)
    return {
        "what": f"two views of {IMAGES} images of {SIZE}x{SIZE}, one thread",
        "ours_ms": ours_ms,
        "baseline": "torchvision transforms, PIL, one core",
        "baseline_ms": baseline_ms,
        "ratio": baseline_ms / ours_ms,
        "target": TARGET,
    }


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


def _interleaved_medians(
    ours: Callable[[], object], baseline: Callable[[], object], device: torch.device
) -> tuple[float, float]:
    """Median milliseconds of each, run in turn so that a slow moment of the machine meets both."""
    times: tuple[list[float], list[float]] = ([], [])
    for run in range(RUNS + 1):
        for work, record in zip((ours, baseline), times, strict=True):
            start = time.perf_counter()
            work()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if run > 0:  # the first one warms up
                record.append((time.perf_counter() - start) * 1000)
    return statistics.median(times[0]), statistics.median(times[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cpu", help="where ours runs: cpu or cuda")
    for row in measure(parser.parse_args().device):
        views_per_second = 2 * IMAGES / row["ours_ms"] * 1000
        print(
            f"{row['what']}: {row['ours_ms']:.2f} ms ({views_per_second:,.0f} views/s), "
            f"{row['baseline']}: {row['baseline_ms']:.1f} ms, ratio {row['ratio']:.1f} (target {row['target']:.0f})"
        )


if __name__ == "__main__":
    main()
