"""Six training steps of the official code, taken again: network, update, losses and optimiser together."""

import numpy as np
import pytest
import torch

from models.cider import CIDERNet
from tests.golden_rules import GOLDEN, fill_by_rule, rs
from utils.losses import CompLoss, DisLoss
from utils.prototypes import EMAPrototypes


def train(dtype: torch.dtype) -> tuple[np.ndarray, EMAPrototypes, CIDERNet]:
    random = rs(6)
    views = torch.from_numpy(random.standard_normal((6, 2, 32, 3, 32, 32))).float().to(dtype)
    labels = torch.from_numpy(random.randint(0, 10, (6, 32)))
    prototypes = random.standard_normal((10, 128))
    model = CIDERNet("resnet18")
    model.load_state_dict(fill_by_rule(model.state_dict()))
    model.to(dtype)  # the float64 values, too, start from weights and views of float32
    ema = EMAPrototypes(10, 128, 0.95).to(dtype)
    ema.prototypes.copy_(torch.from_numpy(prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-4)
    losses = []
    for step in range(6):
        embedding = model(views[step].flatten(0, 1))
        both = labels[step].repeat(2)
        updated = ema.update(embedding, both)
        dis, comp = DisLoss()(updated), CompLoss()(embedding, updated.detach(), both)
        loss = 2 * comp + dis
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append([dis.item(), comp.item(), loss.item()])
    return np.array(losses), ema, model.eval()


def check(dtype: torch.dtype, column: str, tolerance: float) -> None:
    golden = np.load(GOLDEN / "trajectory.npz")
    losses, ema, model = train(dtype)
    np.testing.assert_allclose(losses, golden[column], rtol=tolerance)
    np.testing.assert_allclose(ema.prototypes.numpy(), golden["prototypes_after"], atol=1e-3)
    with torch.no_grad():
        embedding = model(torch.from_numpy(np.load(GOLDEN / "networks.npz")["input"]).to(dtype))
    np.testing.assert_allclose(embedding.numpy(), golden["embedding_after"], atol=2e-3)


def test_six_steps_equal_the_official_code() -> None:
    check(torch.float32, "dis_comp_total_per_step", 1e-3)


@pytest.mark.slow
def test_six_steps_equal_the_official_code_in_float64() -> None:
    check(torch.float64, "dis_comp_total_per_step_float64", 1e-5)
