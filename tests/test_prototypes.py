"""The grouped prototype update against the row-by-row definition: values, gradients, and what is refused."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.golden_rules import GOLDEN, rs
from utils.losses import CompLoss, DisLoss
from utils.prototypes import EMAPrototypes, LearnablePrototypes, class_means, simplex

BATCHES = {
    "usual": lambda r: r.randint(0, 10, 60),
    "classes absent": lambda r: r.choice([1, 4, 9], 30),
    "one sample": lambda r: np.array([7]),
    "all one class": lambda r: np.full(25, 3),
    "each class once": lambda r: r.permutation(10),
    "last class only, twice": lambda r: np.array([9, 9]),
}


def unit(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return F.normalize(torch.from_numpy(rs(seed).standard_normal(shape)), dim=-1).to(dtype)


def loop_update(prototypes: Tensor, features: Tensor, labels: Tensor, momentum: float) -> Tensor:
    rows = list(prototypes)
    for z, label in zip(features, labels.tolist(), strict=True):
        rows[label] = F.normalize(momentum * rows[label] + (1 - momentum) * z, dim=0)
    return torch.stack(rows)


def ema(prototypes: Tensor, momentum: float) -> EMAPrototypes:
    module = EMAPrototypes(*prototypes.shape, momentum).to(prototypes.dtype)
    module.prototypes.copy_(prototypes)
    return module


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.95, 0.99])
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_update_equals_the_loop(batch: str, momentum: float, dtype: torch.dtype, tolerance: float) -> None:
    labels = torch.from_numpy(BATCHES[batch](rs(1)))
    before, weight = unit(10, 16, seed=2, dtype=dtype), unit(10, 16, seed=3, dtype=dtype)
    features = unit(len(labels), 16, dtype=dtype).requires_grad_()
    expected = loop_update(before, features, labels, momentum)
    module = ema(before, momentum)
    updated = module.update(features, labels)
    torch.testing.assert_close(updated, expected, rtol=0, atol=tolerance)
    assert torch.equal(module.prototypes, updated.detach()) and not module.prototypes.requires_grad
    (expected_grad,) = torch.autograd.grad((expected * weight).sum(), features)
    (grad,) = torch.autograd.grad((updated * weight).sum(), features)
    torch.testing.assert_close(grad, expected_grad, rtol=0, atol=tolerance)


def test_gradient_is_that_of_the_values() -> None:
    labels = torch.tensor([0, 2, 2, 0, 2, 3, 2])
    module = ema(unit(5, 4, seed=2), 0.7)
    before = module.prototypes.clone()

    def update(features: Tensor) -> Tensor:
        module.prototypes.copy_(before)
        return module.update(features, labels)

    assert torch.autograd.gradcheck(update, (unit(7, 4).requires_grad_(),))


@pytest.mark.parametrize("case", range(6))
def test_update_and_losses_equal_the_official_code(case: int) -> None:
    golden = np.load(GOLDEN / "losses.npz")

    def value(name: str) -> Tensor:
        return torch.from_numpy(golden[f"{case}/{name}"])

    features, labels = value("features").requires_grad_(), value("labels").repeat(2)
    module = ema(value("prototypes_before"), float(value("momentum")))
    updated = module.update(features, labels)
    torch.testing.assert_close(module.prototypes, value("prototypes_after"), rtol=1e-5, atol=1e-6)
    dis, comp = DisLoss()(updated), CompLoss()(features, updated.detach(), labels)
    assert dis.item() == pytest.approx(float(value("dis_loss")), rel=1e-5)
    assert comp.item() == pytest.approx(float(value("comp_loss")), rel=1e-5)
    (2 * comp + dis).backward()
    expected = value("grad_of_2comp_plus_dis")
    torch.testing.assert_close(features.grad, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_updates_follow_on_each_other_and_survive_a_checkpoint() -> None:
    features, labels = unit(40, 8), torch.from_numpy(rs(1).randint(0, 4, 40))
    module = ema(unit(4, 8, seed=2), 0.9)
    whole = loop_update(module.prototypes.clone(), features, labels, 0.9)
    module.update(features[:15], labels[:15])
    other = EMAPrototypes(4, 8, 0.9).double()
    other.load_state_dict(module.state_dict())
    other.update(features[15:], labels[15:])
    torch.testing.assert_close(other.prototypes, whole, rtol=0, atol=1e-12)


def test_a_graph_outlives_the_next_update() -> None:
    """The backward of one batch must not read the buffer, which the next batch has changed."""
    features, labels = unit(6, 4).requires_grad_(), torch.tensor([0, 1, 0, 1, 1, 0])
    module = ema(unit(2, 4, seed=2), 0.9)
    expected = torch.autograd.grad(loop_update(module.prototypes.clone(), features, labels, 0.9)[0, 0], features)[0]
    updated = module.update(features, labels)
    module.update(unit(6, 4, seed=5), labels)
    torch.testing.assert_close(torch.autograd.grad(updated[0, 0], features)[0], expected)


def test_fresh_prototypes_start_at_the_first_feature() -> None:
    module = EMAPrototypes(3, 8, 0.95)
    feature = unit(1, 8, dtype=torch.float32)
    updated = module.update(feature, torch.tensor([1]))
    torch.testing.assert_close(updated[1], feature[0])
    assert not updated[[0, 2]].any()


def test_empty_batch_changes_nothing() -> None:
    module = ema(unit(3, 8), 0.9)
    before = module.prototypes.clone()
    assert torch.equal(module.update(torch.empty(0, 8), torch.empty(0, dtype=torch.int64)), before)


def test_half_precision_features_update_in_float32() -> None:
    before, labels = unit(3, 8, seed=2, dtype=torch.float32), torch.tensor([0, 1, 0, 2])
    features = unit(4, 8).bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        updated = ema(before, 0.9).update(features, labels)
    assert updated.dtype == torch.float32
    torch.testing.assert_close(updated, loop_update(before, features.float(), labels, 0.9))
    updated[0, 0].backward()
    assert features.grad.dtype == torch.bfloat16 and features.grad.any()


@pytest.mark.parametrize("wrong", [-1, -100, 3])
def test_labels_out_of_range_are_refused_before_anything_changes(wrong: int) -> None:
    module = ema(unit(3, 8), 0.9)
    before = module.prototypes.clone()
    with pytest.raises(ValueError, match=f"label {wrong} is out of range: there are 3 classes"):
        module.update(unit(4, 8), torch.tensor([0, wrong, 1, 2]))
    assert torch.equal(module.prototypes, before)


def test_what_does_not_fit_is_refused() -> None:
    module = EMAPrototypes(3, 8, 0.9)
    with pytest.raises(ValueError, match="do not fit"):
        module.update(unit(4, 7), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(ValueError, match="do not fit"):
        module.update(unit(4, 8), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="momentum"):
        EMAPrototypes(3, 8, 1.0)


def test_learnable_prototypes_are_unit_and_learn() -> None:
    module = LearnablePrototypes(4, 8)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
    before = DisLoss()(module()).item()
    for _ in range(20):
        optimizer.zero_grad()
        DisLoss()(module()).backward()
        optimizer.step()
    torch.testing.assert_close(module().norm(dim=1), torch.ones(4))
    assert DisLoss()(module()).item() < before


def test_class_means_equal_the_loop() -> None:
    features, labels = unit(50, 8, dtype=torch.float32), torch.from_numpy(rs(1).randint(0, 4, 50))
    means = class_means(features, labels, 4)
    for label in range(4):
        torch.testing.assert_close(means[label], F.normalize(features[labels == label].mean(dim=0), dim=0))
    with pytest.raises(ValueError, match="no features of class 4, 5"):
        class_means(features, labels, 6)
    with pytest.raises(ValueError, match="label 3 is out of range"):
        class_means(features, labels, 3)


@pytest.mark.parametrize(("classes", "dim"), [(2, 1), (2, 8), (5, 4), (10, 128), (129, 128)])
def test_simplex_is_regular(classes: int, dim: int) -> None:
    vertices = simplex(classes, dim, torch.Generator().manual_seed(0)).double()
    expected = torch.full((classes, classes), -1 / (classes - 1), dtype=torch.float64).fill_diagonal_(1)
    torch.testing.assert_close(vertices @ vertices.T, expected, rtol=0, atol=1e-6)
    again = simplex(classes, dim, torch.Generator().manual_seed(0)).double()
    assert torch.equal(vertices, again)


def test_simplex_needs_room() -> None:
    with pytest.raises(ValueError, match="2 to 5 vertices, not 6"):
        simplex(6, 4)
    with pytest.raises(ValueError, match="not 1"):
        simplex(1, 4)
