"""The moving average of CIDER's prototypes over a batch, for all classes at once, with a hand-written gradient.

One row after the other, each followed by a normalisation, is how the average is defined. But a row only moves the
prototype of its own class, so the k-th rows of all classes can move theirs together: a batch of 1,024 views takes
about 120 steps with 10 classes and 20 with 100, and the result is the same. The rows are laid out step by step; inside
a step the classes stand by falling number of rows, so the classes that go on form a prefix and nothing is padded.
"""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from utils.errors import one_line, warn

EPS = 1e-12  # that of torch.nn.functional.normalize


def scan_prototypes(prototypes: Tensor, features: Tensor, labels: Tensor, momentum: float) -> Tensor:
    """Prototypes (C, D) after all rows of features (N, D); see `utils.prototypes.EMAPrototypes.update`."""
    if len(features) == 0:
        return prototypes.clone()
    scan = _gpu_scan() if features.is_cuda else SteppedScan
    return scan.apply(features, prototypes, labels, momentum)


def check_batch(features: Tensor, labels: Tensor, prototypes: Tensor) -> None:
    """Raise a ValueError unless features (N, D) and labels (N,) fit prototypes (C, D)."""
    if features.dim() != 2 or features.shape[1] != prototypes.shape[1] or labels.shape != features.shape[:1]:
        shapes = (tuple(tensor.shape) for tensor in (features, labels, prototypes))
        raise ValueError("features {}, labels {} and prototypes {} do not fit".format(*shapes))


@cache
def _gpu_scan() -> type[torch.autograd.Function]:
    """The Triton kernels, tried out once; the plain version where Triton is missing or cannot compile them."""
    try:
        from utils.prototypes.triton_scan import TritonScan  # here, for only PyTorch's GPU builds come with Triton

        trial = torch.ones(1, 2, device="cuda")
        TritonScan.apply(trial, trial, torch.zeros(1, dtype=torch.int64, device="cuda"), 0.5)
    except Exception as error:  # no Triton, no C compiler, an unknown GPU: each has an exception of its own
        warn(f"the prototype update runs without its GPU kernels, more slowly: {one_line(error)}")
        return SteppedScan
    return TritonScan


@dataclass
class Steps:
    """Rows of a batch grouped so that step k holds the k-th row of every class that has one."""

    rows: Tensor  # (N,) rows of the batch, step after step
    sizes: list[int]  # number of classes in each step, falling
    classes: Tensor  # (sizes[0],) classes of the batch by falling number of rows
    last: Tensor  # (sizes[0],) place in `rows` of the last row of each of these classes


def group_into_steps(labels: Tensor, num_classes: int) -> Steps:
    """Lay out labels (N,) for the scan.

    Raises:
        ValueError: a label out of range.
    """
    lowest, highest = torch.stack(labels.aminmax()).tolist()
    if lowest < 0 or highest >= num_classes:
        raise ValueError(f"label {lowest if lowest < 0 else highest} is out of range: there are {num_classes} classes")
    counts = torch.bincount(labels, minlength=num_classes)
    classes = counts.argsort(descending=True, stable=True)
    place = torch.empty_like(classes)
    place[classes] = torch.arange(num_classes, device=labels.device)

    by_class = labels.argsort(stable=True)
    grouped = labels[by_class]
    step = torch.arange(len(labels), device=labels.device) - (counts.cumsum(0) - counts)[grouped]
    rows = by_class[(step * num_classes + place[grouped]).argsort()]

    step_sizes = torch.bincount(step)
    sizes = step_sizes.tolist()
    classes = classes[: sizes[0]]
    starts = step_sizes.cumsum(0) - step_sizes
    last = starts[counts[classes] - 1] + torch.arange(sizes[0], device=labels.device)
    return Steps(rows, sizes, classes, last)


class SteppedScan(torch.autograd.Function):
    """Scan in plain PyTorch, on any device; it reads the sizes of the steps on the host.

    q_k = a p_{k-1} + (1 - a) z_k,  p_k = q_k / |q_k|;  back: dq_k = (g_k - p_k (p_k . g_k)) / |q_k|,  g_{k-1} = a dq_k.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, features: Tensor, prototypes: Tensor, labels: Tensor, momentum: float) -> Tensor:
        steps = group_into_steps(labels, len(prototypes))
        scanned = features[steps.rows].mul_(1 - momentum)  # holds (1 - a) z, then q, then p, in place: N x D
        norms = scanned.new_empty(len(scanned), 1)
        current = prototypes[steps.classes]
        for p, norm in zip(scanned.split(steps.sizes), norms.split(steps.sizes), strict=True):
            p.add_(current[: len(p)], alpha=momentum)
            torch.linalg.vector_norm(p, dim=1, keepdim=True, out=norm)
            p.div_(norm.clamp_min_(EPS))
            current = p
        ctx.save_for_backward(scanned, norms)
        ctx.steps, ctx.momentum = steps, momentum
        return prototypes.index_copy(0, steps.classes, scanned[steps.last])

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        scanned, norms = ctx.saved_tensors
        steps = ctx.steps
        # dq_{k+1} stands for g_k = a dq_{k+1} below, so a moves into the factor; the last step of a class gets g itself
        factors = ctx.momentum / norms
        factors[steps.last] = 1 / norms[steps.last]
        grad = grad[steps.classes]
        grad_q = torch.empty_like(scanned)
        pieces = (scanned.split(steps.sizes), factors.split(steps.sizes), grad_q.split(steps.sizes))
        later = grad[:0]
        for p, factor, out in reversed(list(zip(*pieces, strict=True))):
            if len(later) < len(p):  # classes that end with this step
                later = torch.cat([later, grad[len(later) : len(p)]])
            radial = (p * later).sum(dim=1, keepdim=True)
            torch.addcmul(later, p, radial, value=-1, out=out).mul_(factor)
            later = out
        grad_features = torch.empty_like(scanned)
        grad_features[steps.rows] = grad_q.mul_(1 - ctx.momentum)
        return grad_features, None, None, None
