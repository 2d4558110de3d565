"""What scores and metrics take: tensors, or arrays of numpy with any layout."""

import numpy as np
import torch
from torch import Tensor

ArrayLike = Tensor | np.ndarray


def to_tensor(values: ArrayLike) -> Tensor:
    """A detached tensor of these values, which shares their memory where torch can.

    Raises:
        ValueError: a masked array, whose masked values would count as any others.
    """
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError("a masked array: fill its masked values, or leave them out (values.compressed())")
    # torch knows no negative strides, as a reversed view has them.
    return torch.as_tensor(np.ascontiguousarray(values) if isinstance(values, np.ndarray) else values).detach()
