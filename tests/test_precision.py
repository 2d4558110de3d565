"""Steps in half precision whose gradients overflow."""

import torch
from torch import nn

from utils.training.optimisation import sgd
from utils.training.precision import Precision
from utils.training.recipe import Recipe
from utils.training.settings import RunSettings


def test_a_first_step_that_overflows_moves_nothing_and_leaves_no_momentum(monkeypatch):
    # What memory without a value may hold.
    monkeypatch.setattr(torch, "empty_like", lambda like, **more: torch.full_like(like, torch.nan))
    model, device = nn.Linear(2, 1, bias=False), torch.device("cpu")
    start = model.weight.detach().clone()
    recipe = Recipe(model=model, steps=(), augmentation=None)
    optimizer = sgd(recipe, RunSettings(seed=0, epochs=1, batch_size=1, learning_rate=0.5), device)
    precision = Precision("fp16", device)
    precision.step((model.weight * torch.inf).sum(), optimizer)
    assert torch.equal(model.weight, start)
    precision.step(model.weight.sum(), optimizer)
    torch.testing.assert_close(model.weight, start * (1 - 0.5 * 1.9 * 1e-4) - 0.5 * 1.9)  # Nesterov's first step
