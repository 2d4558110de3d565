"""CIDER's losses against loops that follow the papers, and against values of the official code."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.golden_rules import GOLDEN, rs
from utils.losses import CompLoss, DisLoss, SupConLoss

T = 0.1


def unit(*shape: int, seed: int = 0) -> Tensor:
    return F.normalize(torch.from_numpy(rs(seed).standard_normal(shape)), dim=-1)


def comp_loop(features: Tensor, prototypes: Tensor, labels: Tensor) -> float:
    total = 0.0
    for z, label in zip(features, labels.tolist(), strict=True):
        similarities = [math.exp(float(z @ mu) / T) for mu in prototypes]
        total -= math.log(similarities[label] / sum(similarities))
    return T / 0.07 * total / len(features)


def dis_loop(prototypes: Tensor) -> float:
    total, classes = 0.0, len(prototypes)
    for i in range(classes):
        others = [math.exp(float(prototypes[i] @ prototypes[j]) / T) for j in range(classes) if j != i]
        total += math.log(sum(others) / (classes - 1))
    return total / classes


def supcon_loop(features: Tensor, labels: Tensor) -> float:
    rows = [(z, label) for views, label in zip(features, labels.tolist(), strict=True) for z in views]
    total = 0.0
    for i, (anchor, label) in enumerate(rows):
        others = {j: float(anchor @ z) / T for j, (z, _) in enumerate(rows) if j != i}
        log_sum = math.log(sum(math.exp(value) for value in others.values()))
        positive = [others[j] - log_sum for j in others if rows[j][1] == label]
        total -= sum(positive) / len(positive) if positive else 0.0
    return T / 0.07 * total / len(rows)


@pytest.mark.parametrize(("count", "classes"), [(12, 3), (5, 40), (1, 2), (7, 1)])
def test_compactness_equals_the_loop(count: int, classes: int) -> None:
    features, prototypes = unit(count, 6), unit(classes, 6, seed=1)
    labels = torch.from_numpy(rs(2).randint(0, classes, count))
    expected = comp_loop(features, prototypes, labels)
    assert float(CompLoss()(features, prototypes, labels)) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("classes", [2, 3, 40])
def test_dispersion_equals_the_loop(classes: int) -> None:
    prototypes = unit(classes, 6)
    assert float(DisLoss()(prototypes)) == pytest.approx(dis_loop(prototypes), rel=1e-12)


@pytest.mark.parametrize(("images", "views", "classes"), [(8, 2, 3), (8, 1, 3), (6, 2, 1), (1, 2, 1), (4, 3, 50)])
def test_supcon_equals_the_loop(images: int, views: int, classes: int) -> None:
    features = unit(images, views, 6)
    labels = torch.from_numpy(rs(2).randint(0, classes, images))
    assert float(SupConLoss()(features, labels)) == pytest.approx(supcon_loop(features, labels), rel=1e-12)


def test_temperatures_scale_as_documented() -> None:
    features, prototypes, labels = unit(6, 4), unit(3, 4, seed=1), torch.tensor([0, 1, 2, 0, 1, 2])
    for loss, inputs in [
        (CompLoss, (features, prototypes, labels)),
        (DisLoss, (prototypes,)),
        (SupConLoss, (unit(6, 2, 4), labels)),
    ]:
        plain = loss(temperature=0.5, base_temperature=0.5)(*inputs)
        torch.testing.assert_close(loss(temperature=0.5, base_temperature=0.25)(*inputs), 2 * plain)


@pytest.mark.parametrize("case", range(6))
def test_values_equal_the_official_code(case: int) -> None:
    golden = np.load(GOLDEN / "losses.npz")
    part = {name: torch.from_numpy(golden[f"{case}/{name}"]) for name in ("features", "labels", "prototypes_after")}
    features, labels = part["features"], part["labels"]
    comp = CompLoss()(features, part["prototypes_after"], labels.repeat(2))
    dis = DisLoss()(part["prototypes_after"])
    stacked = torch.stack(features.chunk(2), dim=1).requires_grad_()
    supcon = SupConLoss()(stacked, labels)
    supcon.backward()
    assert comp.item() == pytest.approx(float(golden[f"{case}/comp_loss"]), rel=1e-5)
    assert dis.item() == pytest.approx(float(golden[f"{case}/dis_loss"]), rel=1e-5)
    assert supcon.item() == pytest.approx(float(golden[f"{case}/supcon_loss"]), rel=1e-5)
    expected = torch.from_numpy(golden[f"{case}/supcon_grad"])
    torch.testing.assert_close(stacked.grad, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_gradients_are_those_of_the_formulas() -> None:
    features, prototypes = unit(6, 4).requires_grad_(), unit(3, 4, seed=1).requires_grad_()
    labels = torch.tensor([0, 1, 2, 0, 1, 1])
    assert torch.autograd.gradcheck(lambda z, mu: CompLoss()(z, mu, labels), (features, prototypes))
    assert torch.autograd.gradcheck(DisLoss(), (prototypes,))
    assert torch.autograd.gradcheck(lambda z: SupConLoss()(z, labels), (unit(6, 2, 4).requires_grad_(),))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_autocast_gives_float32_losses(dtype: torch.dtype) -> None:
    """Equal to the loss of the same inputs outside autocast: no half-precision matrix product in between."""
    features, prototypes = unit(8, 2, 4).to(dtype), unit(3, 4, seed=1).to(dtype)
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])

    def losses() -> list[Tensor]:
        return [CompLoss()(features[:, 0], prototypes, labels), DisLoss()(prototypes), SupConLoss()(features, labels)]

    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = losses()
    assert {loss.dtype for loss in inside} == {torch.float32}
    assert inside == losses()


def test_extreme_temperature_stays_finite() -> None:
    features, prototypes = unit(4, 2, 4).float(), unit(3, 4, seed=1).float()
    labels = torch.tensor([0, 1, 2, 0])
    for loss in (
        CompLoss(1e-3)(features[:, 0], prototypes, labels),
        DisLoss(1e-3)(prototypes),
        SupConLoss(1e-3)(features, labels),
    ):
        assert torch.isfinite(loss)


def test_what_does_not_fit_is_refused() -> None:
    features, prototypes = unit(4, 6), unit(3, 6)
    labels = torch.tensor([0, 1, 2, 0])
    with pytest.raises(ValueError, match="do not fit"):
        CompLoss()(features, unit(3, 5), labels)
    with pytest.raises(ValueError, match="4 rows"):
        CompLoss()(features, prototypes, labels[:3])
    with pytest.raises(ValueError, match="0 rows"):
        CompLoss()(features[:0], prototypes, labels[:0])
    for wrong in (-100, -1, 3):
        with pytest.raises(RuntimeError, match="out of bounds"):
            CompLoss()(features, prototypes, torch.tensor([0, 1, wrong, 0]))
    with pytest.raises(ValueError, match="C >= 2"):
        DisLoss()(prototypes[:1])
    with pytest.raises(ValueError, match="N, V, D"):
        SupConLoss()(features, labels)
    with pytest.raises(ValueError, match="N \\* V >= 2"):
        SupConLoss()(unit(1, 1, 6), labels[:1])
