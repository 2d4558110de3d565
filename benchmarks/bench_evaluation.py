"""The evaluation of a checkpoint, but for tables and plots, against the encoder's forward pass on ready batches."""

from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.rows import make_row
from benchmarks.step_run import CLASSES, random_data
from benchmarks.timing import interleaved_medians
from models.cider import CIDERNet
from utils.checkpoint import Checkpoint
from utils.data.images import TensorImages
from utils.evaluation.benchmark import BENCHMARKS
from utils.evaluation.features import images_at_once, layout_of, placed
from utils.evaluation.ood import OODImages, OODSets
from utils.evaluation.run import evaluate_images
from utils.methods import find_method

OOD_SETS, GPU_TARGET_MS = 5, 30_000


def measure(device: torch.device, *, quick: bool = False) -> list[dict]:
    """One row: features of ID train, ID test and five OOD sets, KNN score with K = 100, metrics, accuracy, geometry."""
    on_gpu = device.type == "cuda"
    images = 50_000 if on_gpu and not quick else 320  # of ID train; a fifth in every other set
    batch_size = images_at_once(device)
    torch.manual_seed(0)
    model = placed(CIDERNet("resnet18", width=8 if quick else 64).eval(), device)
    checkpoint = Checkpoint(model, find_method("CIDERNet", "cider"), 1, None, Path("random"), "")
    data = replace(random_data(images), name="CIFAR-10")
    parts = [TensorImages(f"part {i}", data.train.images[i::5], data.train.labels[i::5]) for i in range(OOD_SETS)]
    data = replace(data, test=parts[0])
    ood = OODSets(tuple(OODImages(each, each, official=True) for each in parts))
    ready = data.train.images[:batch_size].float().to(device, memory_format=layout_of(model)) / 255 - 0.5
    count = len(data.train) + len(data.test) + sum(map(len, parts))

    def ours() -> None:
        evaluate_images(checkpoint, data, ood, BENCHMARKS["cider"], {"device": device}, k=100)

    @torch.inference_mode()
    def forward() -> None:
        for _ in range(count // batch_size):
            model.penultimate(ready)

    times = interleaved_medians([ours, forward], device, runs=3, warm_up=1)
    return [
        make_row(
            f"whole evaluation, ResNet-18, {count:,} images of 32 x 32 in {CLASSES} classes, K = 100",
            times[0],
            "the encoder on ready batches",
            times[1],
            limit_ms=GPU_TARGET_MS if on_gpu else None,
        )
    ]
