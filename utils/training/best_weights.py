"""The weights of the epoch that did best so far, as a part of the state of a run, so that a resumed run has them."""

import copy

import torch
from torch import Tensor, nn


class BestWeights(nn.Module):
    """A copy of a network at its best epoch.

    Attributes:
        epoch: that epoch, 0 before the first figure.    figure: what it reached.
    """

    epoch: Tensor
    figure: Tensor

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(model).requires_grad_(False)
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))
        self.register_buffer("figure", torch.full((), -1.0, dtype=torch.float64))

    def offer(self, model: nn.Module, figure: float, epoch: int) -> None:
        """Take the weights over if `figure` is larger than any before; of equal ones the first stays."""
        if figure > float(self.figure):
            self.network.load_state_dict(model.state_dict())
            self.figure.fill_(figure)
            self.epoch.fill_(epoch)
