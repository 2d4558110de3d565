"""PALM's prototypes and losses against the authors' code (tests/golden/palm.npz) and against explicit loops."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from models.cider import CIDERNet
from utils.checkpoint import load_checkpoint, official_format, save
from utils.evaluation.collapse import collapse
from utils.evaluation.scores import nearest_prototype
from utils.losses import MixtureLikelihoodLoss, PrototypeContrastLoss
from utils.prototypes import class_directions
from utils.prototypes.mixture import MixturePrototypes

GOLDEN = np.load(Path(__file__).parent / "golden/palm.npz")
CASES = [f"{group}_{dtype}" for group in ("c10", "c10_all", "c100", "fast") for dtype in ("f64", "f32")]


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    rows = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.normalize(rows, dim=-1)


@pytest.mark.parametrize("case", CASES)
def test_three_steps_are_those_of_the_authors_code(case):
    def golden(name: str) -> torch.Tensor:
        return torch.from_numpy(GOLDEN[f"{case}_{name}"])

    classes, per_class, nearest, momentum, weight, temperature, epsilon, iterations = golden("facts").tolist()
    found = MixturePrototypes(
        int(classes), int(per_class), 1, momentum, nearest=int(nearest), epsilon=epsilon, iterations=int(iterations)
    )
    found.prototypes = golden("protos0").clone()
    tolerance = {"rtol": 1e-10, "atol": 1e-12} if case.endswith("f64") else {"rtol": 1e-5, "atol": 1e-6}
    for step in range(3):
        features = golden(f"features{step}").clone().requires_grad_()
        rows = torch.cat(features.unbind(1))
        prototypes, weights = found.update(rows, golden(f"labels{step}").repeat(2))
        likelihood = MixtureLikelihoodLoss(temperature)(rows, prototypes.detach(), weights)
        contrast = PrototypeContrastLoss(int(classes))(prototypes)
        (likelihood + weight * contrast).backward()
        assert likelihood.item() == pytest.approx(golden(f"mle{step}").item(), rel=tolerance["rtol"])
        assert contrast.item() == pytest.approx(golden(f"pcon{step}").item(), rel=tolerance["rtol"])
        torch.testing.assert_close(features.grad, golden(f"grad{step}"), **tolerance)
        torch.testing.assert_close(found.prototypes, golden(f"protos{step + 1}"), **tolerance)


def test_a_class_absent_from_the_batch_keeps_its_prototypes():
    found = MixturePrototypes(3, 2, 8, 0.9, nearest=1).double()
    found.prototypes = unit(6, 8)
    before = found.prototypes.clone()
    found.update(unit(10, 8, seed=1), torch.tensor([0, 2] * 5))
    torch.testing.assert_close(found.prototypes[[1, 4]], before[[1, 4]], rtol=0, atol=1e-15)
    assert ((found.prototypes - before)[[0, 2, 3, 5]].abs().amax(1) > 0).sum() >= 2


def test_the_likelihood_by_a_loop():
    features, prototypes = unit(5, 8), unit(6, 8, seed=1)
    weights = F.normalize(unit(5, 6, seed=2).abs(), p=1, dim=1)
    total = 0.0
    for z, shares in zip(features, weights, strict=True):
        logits = [float(z @ p) / 0.1 for p in prototypes]
        own = sum(float(share) * logit for share, logit in zip(shares, logits, strict=True))
        total -= own - math.log(sum(map(math.exp, logits)))
    assert MixtureLikelihoodLoss(0.1)(features, prototypes, weights).item() == pytest.approx(total / 5)


@pytest.mark.parametrize("per_class", [1, 3])
def test_the_contrast_by_a_loop(per_class):
    prototypes = unit(4 * per_class, 8)
    total = 0.0
    for j, p in enumerate(prototypes):
        others = [i for i in range(len(prototypes)) if i != j]
        logits = {i: float(p @ prototypes[i]) / 0.5 for i in others}
        same = [logits[i] for i in others if i % 4 == j % 4]
        total -= (sum(same) / len(same) if same else 0) - math.log(sum(map(math.exp, logits.values())))
    assert PrototypeContrastLoss(4)(prototypes).item() == pytest.approx(total / len(prototypes))


def test_half_precision_inside_autocast_does_not_overflow():
    found = MixturePrototypes(2, 2, 4, 0.5)
    found.prototypes = F.normalize(torch.ones(4, 4), dim=1)
    features = F.normalize(torch.ones(6, 4), dim=1).half()  # exp(1 / 0.05) is 4.9e8, more than float16 holds
    with torch.autocast("cpu", dtype=torch.bfloat16):
        prototypes, weights = found.update(features, torch.tensor([0, 1] * 3))
        loss = MixtureLikelihoodLoss()(features, prototypes.detach(), weights) + PrototypeContrastLoss(2)(prototypes)
    assert loss.dtype == torch.float32 and loss.isfinite()
    torch.testing.assert_close(weights.sum(1), torch.ones(6))


def test_what_a_checkpoint_holds_is_read_class_by_class(tmp_path):
    """Prototype j is of class j mod C: in the nearest one, in the directions of the classes, in what is warned of."""
    model = CIDERNet(width=8, feat_dim=8, num_classes=3)
    rows = unit(6, 8).float()
    save(official_format(model, rows, method="palm", epoch=1, args={}, class_names=("a", "b", "c")), tmp_path / "x.pt")
    found = load_checkpoint(tmp_path / "x.pt").prototypes
    assert torch.equal(found, rows)
    expected = torch.stack([(rows[c] + rows[c + 3]) / 2 for c in range(3)])
    torch.testing.assert_close(class_directions(found, 3), expected)
    assert nearest_prototype(rows, found).tolist() == [0, 1, 2, 3, 4, 5]
    twice = torch.cat([torch.eye(3, 8)] * 2)  # a class may have two prototypes in one place
    assert collapse(3, 0.9, twice) is None
    assert (
        collapse(3, 0.9, torch.eye(6, 8)[[0, 0, 1, 2, 2, 3]])
        == "2 of 3 classes share their prototype with another class"
    )


def test_what_is_refused():
    with pytest.raises(ValueError, match="3 nearest of 2 prototypes"):
        MixturePrototypes(4, 2, 8, 0.9, nearest=3)
    with pytest.raises(ValueError, match="momentum"):
        MixturePrototypes(4, 2, 8, 1.0)
    with pytest.raises(ValueError, match="do not fit"):
        MixturePrototypes(4, 2, 8, 0.9).update(torch.zeros(3, 7), torch.zeros(3, dtype=torch.int64))
    for label in (-1, 4):
        with pytest.raises(RuntimeError, match="Class values must be"):
            MixturePrototypes(4, 2, 8, 0.9).update(torch.zeros(2, 8), torch.tensor([0, label]))
    with pytest.raises(ValueError, match="do not fit"):
        MixtureLikelihoodLoss()(torch.zeros(3, 8), torch.zeros(4, 8), torch.zeros(3, 5))
    with pytest.raises(ValueError, match="as many for each of 3 classes"):
        PrototypeContrastLoss(3)(torch.zeros(4, 8))
