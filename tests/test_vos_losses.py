"""The losses of VOS against explicit loops and the official values, and where they must stay stable."""

import math

import pytest
import torch
from torch import nn

from tests.golden_rules import golden_case
from utils.losses import log_weighted_sum_exp, uncertainty_loss


@pytest.mark.parametrize("case", [0, 1, 2])
def test_equals_the_official_code_with_gradients(case: int) -> None:
    golden = golden_case("vos", case)
    logistic = nn.Linear(1, 2)
    logistic.load_state_dict({"weight": golden["logistic_weight"], "bias": golden["logistic_bias"]})
    inputs = [golden[name].clone().requires_grad_() for name in ("id_logits", "outlier_logits")]
    weight = golden["energy_weight"][0].clone().requires_grad_()
    scores = [log_weighted_sum_exp(logits, weight) for logits in inputs]
    loss = uncertainty_loss(*scores, logistic)
    loss.backward()

    torch.testing.assert_close(loss.double(), golden["loss"], rtol=1e-5, atol=0)
    # The reference stores what its logistic head sees.
    torch.testing.assert_close(scores[0], golden["id_scores"], rtol=1e-5, atol=1e-5)
    for tensor, name in ((inputs[0], "grad_id_logits"), (inputs[1], "grad_outlier_logits")):
        torch.testing.assert_close(tensor.grad, golden[name], rtol=1e-4, atol=1e-8)
    torch.testing.assert_close(weight.grad, golden["grad_energy_weight"][0], rtol=1e-4, atol=1e-7)


def test_score_equals_the_sum_written_out() -> None:
    torch.manual_seed(0)
    logits, weight = torch.randn(5, 4, dtype=torch.float64), torch.tensor([0.5, -1.0, 0.0, 2.0], dtype=torch.float64)
    expected = [math.log(sum(max(w, 0) * math.exp(f) for w, f in zip(weight, row, strict=True))) for row in logits]
    torch.testing.assert_close(log_weighted_sum_exp(logits, weight), torch.tensor(expected, dtype=torch.float64))


def test_score_is_stable_even_where_the_largest_logit_has_no_weight() -> None:
    logits = torch.tensor([[1000.0, -1000.0, -1001.0], [-1e4, 3e4, 0.0]], requires_grad=True)
    weight = torch.tensor([-1.0, 1.0, 1e-30], requires_grad=True)
    score = log_weighted_sum_exp(logits, weight)
    torch.testing.assert_close(score, torch.tensor([-1000.0, 3e4]))
    score.sum().backward()
    assert logits.grad.isfinite().all() and weight.grad.isfinite().all()
    assert weight.grad[0] == 0 and (logits.grad[:, 0] == 0).all()


@torch.no_grad()
def test_loss_is_one_mean_over_both_kinds() -> None:
    torch.manual_seed(0)
    logistic = nn.Linear(1, 2).double()
    id_scores, outlier_scores = torch.randn(6, dtype=torch.float64), torch.randn(2, dtype=torch.float64)
    total = 0.0
    for scores, label in ((id_scores, 1), (outlier_scores, 0)):
        for score in scores:
            outputs = logistic(score.view(1, 1))[0]
            total += float(outputs.exp().sum().log() - outputs[label])
    assert float(uncertainty_loss(id_scores, outlier_scores, logistic)) == pytest.approx(total / 8)


def test_float32_inside_autocast() -> None:
    logistic, weight = nn.Linear(1, 2), torch.rand(10)
    logits = torch.randn(4, 10, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = log_weighted_sum_exp(logits, weight)
        loss = uncertainty_loss(scores, scores, logistic)
    assert scores.dtype == loss.dtype == torch.float32
    torch.testing.assert_close(scores, log_weighted_sum_exp(logits.float(), weight))


@pytest.mark.parametrize(("scores", "outliers"), [((0,), (3,)), ((3,), (0,)), ((3, 1), (3,)), ((3,), ())])
def test_missing_or_misshapen_scores_are_refused(scores: tuple, outliers: tuple) -> None:
    with pytest.raises(ValueError, match="must be"):
        uncertainty_loss(torch.zeros(scores), torch.zeros(outliers), nn.Linear(1, 2))


def test_weight_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        log_weighted_sum_exp(torch.zeros(2, 3), torch.ones(1, 3))
