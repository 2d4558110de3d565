"""Feature extraction of the evaluation, against the encoder's own forward pass on batches that are ready."""

import torch
from torch import Tensor

from benchmarks.rows import make_row
from benchmarks.timing import interleaved_medians
from models.cider import CIDERNet
from utils.data.images import TensorImages
from utils.evaluation.features import extract, images_at_once, layout_of, placed

MEAN, STD = (0.491, 0.482, 0.447), (0.247, 0.244, 0.262)
RUNS, TARGET = 5, 1.05


def measure(device: torch.device, *, quick: bool = False) -> list[dict]:
    """One row: ResNet-18 on 32 x 32 pixels, from uint8 in host memory to float32 features in host memory."""
    count = 64 if quick else 10_000 if device.type == "cuda" else 128
    torch.manual_seed(0)
    model = placed(CIDERNet("resnet18", width=8 if quick else 64).eval(), device)
    pixels = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8)
    image_set = TensorImages("random", pixels)
    layout = layout_of(model)
    batches = pixels.split(images_at_once(device))
    ready = [batch.float().to(device, memory_format=layout) / 255 - 0.5 for batch in batches]

    @torch.inference_mode()
    def forward() -> Tensor:
        return [model.penultimate(batch) for batch in ready][-1]

    times = interleaved_medians(
        [lambda: extract(model, image_set, mean=MEAN, std=STD, device=device), forward],
        device,
        runs=RUNS,
        warm_up=1,
    )
    return [
        make_row(
            f"feature extraction, ResNet-18, {count:,} images of 32 x 32",
            times[0],
            "the encoder on ready batches",
            times[1],
            share_of_time=TARGET,
        )
    ]
