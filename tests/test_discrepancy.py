"""Discrepancy loss and score of MCD against the author's values and explicit loops."""

import math

import pytest
import torch

from tests.golden_rules import golden_case
from utils.evaluation.scores import discrepancy_score
from utils.losses import discrepancy_loss


def softmax(row: list[float]) -> list[float]:
    total = sum(math.exp(value) for value in row)
    return [math.exp(value) / total for value in row]


def entropy(row: list[float]) -> float:
    return -sum(p * math.log(p) for p in softmax(row))


@pytest.mark.parametrize("case", [0, 1, 2])
def test_loss_and_gradients_equal_the_author_s_code(case: int) -> None:
    golden = golden_case("mcd", case)
    heads = [golden[f"head{number}_logits"].clone().requires_grad_() for number in (1, 2)]
    loss = discrepancy_loss(*heads, margin=float(golden["margin"]))
    loss.backward()
    torch.testing.assert_close(loss.double(), golden["discrepancy_loss"], rtol=1e-5, atol=0)
    for head, number in zip(heads, (1, 2), strict=True):
        assert golden[f"grad_head{number}"].abs().sum() > 0
        torch.testing.assert_close(head.grad, golden[f"grad_head{number}"], rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("case", [0, 1, 2])
def test_score_is_minus_the_author_s_distance(case: int) -> None:
    golden = golden_case("mcd", case)
    found = discrepancy_score(golden["head1_logits"], golden["head2_logits"])
    torch.testing.assert_close(-found, golden["l1_distance"], rtol=1e-5, atol=1e-6)
    as_arrays = discrepancy_score(golden["head1_logits"].numpy(), golden["head2_logits"].numpy())
    assert torch.equal(as_arrays, found)


def test_loss_and_score_written_out() -> None:
    torch.manual_seed(0)
    first, second = (2 * torch.randn(7, 4, dtype=torch.float64) for _ in range(2))
    gaps = [entropy(a) - entropy(b) for a, b in zip(first.tolist(), second.tolist(), strict=True)]
    expected = max(1.2 - sum(gaps) / 7, 0)
    assert float(discrepancy_loss(first, second)) == pytest.approx(expected)
    distances = [
        sum(abs(p - q) for p, q in zip(softmax(a), softmax(b), strict=True))
        for a, b in zip(first.tolist(), second.tolist(), strict=True)
    ]
    assert (-discrepancy_score(first, second)).tolist() == pytest.approx(distances)


def test_margin_is_on_the_mean_of_the_batch_not_on_each_image() -> None:
    flat, sure = torch.zeros(2, 6), torch.tensor([[30.0, 0, 0, 0, 0, 0], [0.0] * 6])
    # Entropy gaps of log 6 and of 0: their mean is below 1.2, though the first alone is above it.
    assert float(discrepancy_loss(flat, sure)) == pytest.approx(1.2 - math.log(6) / 2, abs=1e-4)
    assert float(discrepancy_loss(flat[:1], sure[:1])) == 0
    assert float(discrepancy_loss(sure, flat)) == pytest.approx(1.2 + math.log(6) / 2, abs=1e-4)  # head 1 must be flat


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_score_at_its_two_ends(classes: int) -> None:
    flat, sure = torch.zeros(1, classes), 1000 * torch.eye(classes)[:1]
    assert float(discrepancy_score(flat, flat)) == 0
    assert -float(discrepancy_score(flat, sure)) == pytest.approx(2 - 2 / classes)
    assert -float(discrepancy_score(sure, sure.flip(1))) == pytest.approx(2)


def test_sure_outputs_keep_a_finite_gradient() -> None:
    heads = [torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True), torch.tensor([[-1e4, 1e4, 0.0]], requires_grad=True)]
    discrepancy_loss(*heads).backward()
    assert all(head.grad.isfinite().all() for head in heads)


def test_float32_inside_autocast() -> None:
    first, second = torch.randn(4, 10, dtype=torch.bfloat16), torch.randn(4, 10, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, score = discrepancy_loss(first, second), discrepancy_score(first, second)
    assert loss.dtype == score.dtype == torch.float32
    torch.testing.assert_close(loss, discrepancy_loss(first.float(), second.float()))
    torch.testing.assert_close(score, discrepancy_score(first.float(), second.float()))


@pytest.mark.parametrize(("first", "second"), [((3, 2), (3, 4)), ((3,), (3,)), ((2, 3), (4, 3))])
def test_logits_that_do_not_fit_are_refused(first: tuple, second: tuple) -> None:
    for function in (discrepancy_loss, discrepancy_score):
        with pytest.raises(ValueError, match="must be"):
            function(torch.zeros(first), torch.zeros(second))
    with pytest.raises(ValueError, match="N > 0"):
        discrepancy_loss(torch.zeros(0, 3), torch.zeros(0, 3))
