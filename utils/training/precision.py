"""Half precision: autocast for the forward pass, loss scaling for float16."""

import contextlib

import torch
from torch import Tensor

from utils.evaluation.features import AMP_TYPES


class Precision:
    """How the network computes ("off", "bf16" or "fp16") and how the optimiser steps under that precision."""

    def __init__(self, amp: str, device: torch.device):
        self._dtype = AMP_TYPES[amp]
        self._device = device
        self.scaler = torch.amp.GradScaler(device.type, enabled=amp == "fp16")

    def autocast(self) -> contextlib.AbstractContextManager:
        """Context for the forward pass and the losses."""
        if self._dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self._device.type, dtype=self._dtype)

    def step(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Backward pass and one step of the optimiser."""
        optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.step(optimizer)
        self.scaler.update()
