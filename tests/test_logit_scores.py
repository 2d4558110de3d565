"""Scores on logits against their definitions, where a probability has no digits left, and what is refused."""

import math

import pytest
import torch
from torch import Tensor

from models.mcd import MCDNet
from models.vos import VOSNet
from utils.evaluation.features import Features
from utils.evaluation.registry import SCORES
from utils.evaluation.score_parts import Ingredients
from utils.evaluation.scores import energy_score, logistic_score, msp_score

LOGIT_SCORES = ("energy", "msp", "sigmoid-energy", "logistic", "discrepancy")


def fitted(name: str, model: VOSNet | MCDNet):
    """A score that needs no features of ID train."""
    given = Ingredients(4, 5, torch.device("cpu"), classifier=model.fc, model=model)
    score = SCORES[name].fit(Features({}, None), given)
    return lambda **outputs: score(outputs, None)


@pytest.fixture
def logits() -> Tensor:
    return 3 * torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model() -> VOSNet:
    torch.manual_seed(0)
    return VOSNet("resnet18", 4, width=8)


@torch.no_grad()
def test_scores_are_their_definitions(logits: Tensor, model: VOSNet) -> None:
    weights, head = model.energy.tolist(), model.logistic
    for row, energy, msp, logistic in zip(
        logits.tolist(),
        energy_score(logits).tolist(),
        msp_score(logits).tolist(),
        logistic_score(logits, model.energy, head).tolist(),
        strict=True,
    ):
        total = sum(math.exp(f) for f in row)
        assert energy == pytest.approx(math.log(total), rel=1e-5)
        assert 1 / (1 + math.exp(-msp)) == pytest.approx(max(math.exp(f) / total for f in row), rel=1e-5)
        weighted = math.log(sum(w * math.exp(f) for w, f in zip(weights, row, strict=True)))
        outputs = [float(head.weight[k, 0] * weighted + head.bias[k]) for k in range(2)]
        assert logistic == pytest.approx(outputs[1] - outputs[0], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("score", [energy_score, msp_score])
def test_logits_of_half_precision_make_no_ties(score, dtype):
    logits = (4 * torch.randn(50, 10, generator=torch.Generator().manual_seed(0))).to(dtype)
    found = score(logits)
    assert found.dtype == torch.float32 and torch.equal(found, score(logits.float()))


def test_what_is_shown_is_a_probability_and_what_is_ranked_has_all_digits(model: VOSNet) -> None:
    sure, surer = torch.tensor([[60.0, 0.0, 0.0, 0.0], [70.0, 0.0, 0.0, 0.0]])
    for name in ("msp", "sigmoid-energy"):
        score = SCORES[name]
        ranked = fitted(name, model)(logits=torch.stack([sure, surer]))
        assert ranked[1] > ranked[0]
        assert ranked.float().sigmoid().tolist() == [1.0, 1.0]  # which is why they are not ranked by it
        assert ((0 < score.display(ranked)) & (score.display(ranked) <= 1)).all()
    assert SCORES["energy"].display(torch.tensor([12.5])).tolist() == [12.5]


def test_sigmoid_energy_is_that_of_the_tutorial(logits: Tensor, model: VOSNet) -> None:
    shown = SCORES["sigmoid-energy"].display(fitted("sigmoid-energy", model)(logits=logits))
    expected = [1 / (1 + 1 / sum(w * math.exp(f) for w, f in zip(model.energy.tolist(), row, strict=True)))
                for row in logits.tolist()]  # fmt: skip
    assert shown.tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", LOGIT_SCORES)
def test_two_classes_and_detached_results(name: str) -> None:
    model = (MCDNet if name == "discrepancy" else VOSNet)("resnet18", 2, width=8)
    scores = fitted(name, model)(logits=torch.randn(5, 2), logits2=torch.randn(5, 2))
    assert scores.shape == (5,) and scores.dtype == torch.float32 and not scores.requires_grad
    assert scores.isfinite().all()
