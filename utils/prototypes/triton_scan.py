"""The scan of utils/prototypes/scan.py as GPU kernels: one program per class walks through the rows of its class.

Nothing is read on the host. Imported only for tensors on a GPU; with TRITON_INTERPRET=1 it runs on the CPU, for tests.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable


@triton.jit
def _forward_kernel(
    features, prototypes, order, ends, counts, updated, scanned, norms,
    dim, momentum: tl.constexpr, eps: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    label = tl.program_id(0)
    column = tl.arange(0, block)
    inside = column < dim
    p = tl.load(prototypes + label * dim + column, mask=inside, other=0.0)
    end = tl.load(ends + label)
    for i in range(end - tl.load(counts + label), end):
        row = tl.load(order + i)
        z = tl.load(features + row * dim + column, mask=inside, other=0.0)
        q = momentum * p + (1 - momentum) * z
        norm = tl.maximum(tl.sqrt(tl.sum(q * q, axis=0)), eps)
        p = q / norm
        tl.store(scanned + row * dim + column, p, mask=inside)
        tl.store(norms + row, norm)
    tl.store(updated + label * dim + column, p, mask=inside)


@triton.jit
def _backward_kernel(
    grad, order, ends, counts, scanned, norms, grad_features,
    dim, momentum: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    label = tl.program_id(0)
    column = tl.arange(0, block)
    inside = column < dim
    g = tl.load(grad + label * dim + column, mask=inside, other=0.0)
    end = tl.load(ends + label)
    for i in range(0, tl.load(counts + label)):
        row = tl.load(order + end - 1 - i)
        p = tl.load(scanned + row * dim + column, mask=inside, other=0.0)
        grad_q = (g - p * tl.sum(p * g, axis=0)) / tl.load(norms + row)
        tl.store(grad_features + row * dim + column, (1 - momentum) * grad_q, mask=inside)
        g = momentum * grad_q


class TritonScan(torch.autograd.Function):
    """Same arguments, result and gradient as `utils.prototypes.scan.SteppedScan`, without a read on the host."""

    @staticmethod
    def forward(ctx: FunctionCtx, features: Tensor, prototypes: Tensor, labels: Tensor, momentum: float) -> Tensor:
        features, prototypes = features.contiguous(), prototypes.contiguous()
        num_classes, dim = prototypes.shape
        # scatter_add_ stops at a label out of range; the kernel would pass over it
        counts = labels.new_zeros(num_classes).scatter_add_(0, labels, torch.ones_like(labels))
        order, ends = labels.argsort(stable=True), counts.cumsum(0)
        updated, scanned = torch.empty_like(prototypes), torch.empty_like(features)
        norms = features.new_empty(len(features))
        block = triton.next_power_of_2(dim)
        with torch.cuda.device_of(features):
            _forward_kernel[(num_classes,)](
                features, prototypes, order, ends, counts, updated, scanned, norms,
                dim, momentum, 1e-12, block, num_warps=1,
            )  # fmt: skip
        ctx.save_for_backward(order, ends, counts, scanned, norms)
        ctx.momentum, ctx.block = momentum, block
        return updated

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        order, ends, counts, scanned, norms = ctx.saved_tensors
        grad_features = torch.empty_like(scanned)
        with torch.cuda.device_of(scanned):
            _backward_kernel[(len(grad),)](
                grad.contiguous(), order, ends, counts, scanned, norms, grad_features,
                scanned.shape[1], ctx.momentum, ctx.block, num_warps=1,
            )  # fmt: skip
        return grad_features, None, None, None
