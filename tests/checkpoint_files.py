"""Small checkpoints as a training saves them, for the tests of what reads them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from models.cider import CIDERNet
from utils.checkpoint import official_format, save


def write_checkpoint(
    path: Path,
    *,
    method: str = "supcon",
    epoch: int = 1,
    class_names: Sequence[str] = tuple("012345"),
    prototypes: torch.Tensor | None = None,
    **args: Any,
) -> Path:
    """A narrow network as it is drawn, the same every time; `args`: of its training, as in_dataset. Returns `path`."""
    torch.manual_seed(0)
    model = CIDERNet(num_classes=len(class_names), width=8)
    save(official_format(model, prototypes, method=method, epoch=epoch, args=args, class_names=class_names), path)
    return path
