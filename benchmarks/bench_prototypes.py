"""CIDER's prototype update with both losses, forward and backward, against a loop over the rows in autograd."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.rows import make_row
from benchmarks.timing import interleaved_medians, one_thread
from utils.losses import CompLoss, DisLoss
from utils.prototypes import EMAPrototypes

DIM, MOMENTUM, RUNS = 128, 0.95, 9
CPU_TARGETS = {10: 10.0, 100: 20.0}  # classes -> how many times faster than the loop
GPU_TARGET_MS = 0.5


def loop_update(prototypes: Tensor, features: Tensor, labels: Tensor, momentum: float) -> Tensor:
    """The definition, one row after the other in the autograd graph: what the official code does."""
    rows = list(prototypes)
    for feature, label in zip(features, labels.tolist(), strict=True):
        rows[label] = F.normalize(momentum * rows[label] + (1 - momentum) * feature, dim=0)
    return torch.stack(rows)


def measure(device: torch.device, *, quick: bool = False) -> list[dict]:
    """Rows for 10 and 100 classes, on one CPU thread."""
    with one_thread():
        return [_measure_classes(num_classes, 64 if quick else 1024, device) for num_classes in CPU_TARGETS]


def _measure_classes(num_classes: int, views: int, device: torch.device) -> dict:
    generator = torch.Generator().manual_seed(0)
    features = F.normalize(torch.randn(views, DIM, generator=generator), dim=1).to(device).requires_grad_()
    labels = torch.randint(num_classes, (views // 2,), generator=generator).repeat(2).to(device)
    prototypes = F.normalize(torch.randn(num_classes, DIM, generator=generator), dim=1).to(device)
    ema = EMAPrototypes(num_classes, DIM, MOMENTUM).to(device)

    def ours() -> None:
        ema.prototypes.copy_(prototypes)
        _losses_backward(ema.update(features, labels), features, labels)

    def baseline() -> None:
        _losses_backward(loop_update(prototypes, features, labels, MOMENTUM), features, labels)

    on_gpu = device.type == "cuda"
    times = interleaved_medians([recorded(ours) if on_gpu else ours, baseline], device, runs=RUNS)
    return make_row(
        f"prototype update, CompLoss and DisLoss, {views:,} views, {num_classes} classes",
        times[0],
        "loop over the rows",
        times[1],
        limit_ms=GPU_TARGET_MS if on_gpu else None,
        times_as_fast=None if on_gpu else CPU_TARGETS[num_classes],
    )


def recorded(function: Callable[[], None]) -> Callable[[], None]:
    """A function of GPU tensors as a CUDA graph, as --compile has it."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        function()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        function()
    return graph.replay


def _losses_backward(prototypes: Tensor, features: Tensor, labels: Tensor) -> None:
    loss = 2 * CompLoss()(features, prototypes.detach(), labels) + DisLoss()(prototypes)
    torch.autograd.grad(loss, features)
