"""The rules by which the golden values were made: seeded numbers, and weights filled by name instead of stored."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

GOLDEN = Path(__file__).parent / "golden"


def rs(*key: int) -> np.random.RandomState:
    """The generator of the golden values for a key of integers."""
    return np.random.RandomState(np.array([1, *key], dtype=np.uint32))


def golden_case(method: str, case: int) -> dict[str, Tensor]:
    """The tensors of one case in METHOD.npz, which stand there as METHOD<case>/<name>."""
    stored, prefix = np.load(GOLDEN / f"{method}.npz"), f"{method}{case}/"
    return {key.removeprefix(prefix): torch.from_numpy(stored[key]) for key in stored if key.startswith(prefix)}


def fill_by_rule(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """New values for every tensor of a state dict, from its rank among the sorted names and its shape."""
    filled = {}
    for index, name in enumerate(sorted(state_dict)):
        tensor, random = state_dict[name], rs(77, index)
        if name.endswith("num_batches_tracked"):
            values = np.ones(tuple(tensor.shape))
        else:
            values = random.standard_normal(tuple(tensor.shape))
            if name.endswith("running_var"):
                values = 1 + 0.1 * np.abs(values)
            elif name.endswith(("running_mean", "bias")):
                values = 0.1 * values
            elif tensor.dim() == 1:
                values = 1 + 0.1 * values
            else:
                values = values * np.sqrt(2 / np.prod(tensor.shape[1:]))
        filled[name] = torch.as_tensor(values).to(tensor.dtype)
    return filled
