"""PyTorch's random number generators, the only ones that a training draws from: seeded, saved and put back."""

from collections.abc import Mapping
from typing import Any

import torch


def seed_all(seed: int) -> None:
    """Seed the generators of the CPU and of every GPU."""
    torch.manual_seed(seed)


def random_state(device: torch.device) -> dict[str, Any]:
    """States of the generators of the CPU and of `device`."""
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def set_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Put every generator back to what `random_state()` found."""
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"], device)
