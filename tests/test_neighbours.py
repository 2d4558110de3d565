"""The K of the KNN score: sweeps equal single searches; the automatic choice sees noise alone."""

import pytest
import torch
from torch.nn import functional as F

from utils.evaluation.metrics import ood_metrics
from utils.evaluation.neighbours import choose_k, sweep_k
from utils.evaluation.scores import knn_score


def rows(seed, count, spread, dim=8, classes=4):
    generator = torch.Generator().manual_seed(seed)
    centers = torch.eye(classes, dim)[torch.arange(count) % classes]
    return F.normalize(centers + spread * torch.randn(count, dim, generator=generator), dim=1)


def test_a_sweep_is_a_search_for_each_k():
    bank, test, ood = rows(0, 80, 0.3), rows(1, 20, 0.3), {"a": rows(2, 15, 0.8), "b": rows(3, 10, 0.5)}
    found = sweep_k(bank, test, ood, (1, 7, 50), positive="OOD")
    for k in (1, 7, 50):
        for name, features in ood.items():
            scores = (knn_score(bank, some, k) for some in (test, features))
            assert found[k][name] == ood_metrics(*scores, positive="OOD")


def test_the_choice_is_the_best_against_noise_and_the_usual_one_where_equal():
    bank, test = rows(0, 80, 0.3), rows(1, 20, 0.3)
    k, aurocs = choose_k(bank, test, rows(2, 30, 0.9), 10)
    assert aurocs[k] == max(aurocs.values())
    assert list(aurocs) == [1, 5, 10, 20, 50]
    assert aurocs[50] < aurocs[k]  # more than the 20 images of a class
    far = -torch.ones(5, 8) / 8**0.5
    for usual in (5, 10):
        assert choose_k(bank, test, far, usual)[0] == usual


def test_k_of_equal_candidates_is_the_smallest():
    bank = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    near, far = torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 0.0]])
    # By hand: the ID image is nearer than the OOD image at each of the three neighbours, so that all are perfect.
    assert choose_k(bank, near, far, None, (3, 2, 1, 50)) == (1, {1: 1.0, 2: 1.0, 3: 1.0})


def test_a_bank_smaller_than_every_candidate_is_compared_with_as_a_whole():
    bank, test = rows(0, 20, 0.3), rows(1, 5, 0.3)
    assert choose_k(bank, test, rows(2, 30, 0.9), None, (50, 100))[0] == 20


def test_a_k_beyond_the_bank_is_refused():
    with pytest.raises(ValueError, match="from 1 to 20"):
        sweep_k(rows(0, 20, 0.3), rows(1, 5, 0.3), {}, (21,))
