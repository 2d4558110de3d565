"""KNN search against golden values and explicit loops, where rounding is easy and where it is not."""

import numpy as np
import pytest
import torch
from golden_rules import GOLDEN

from utils.evaluation import knn_search as module
from utils.evaluation.knn_search import knn_search
from utils.evaluation.scores import knn_score, knn_scores


@pytest.fixture
def small_tiles(monkeypatch):
    """Tiles so small that a search crosses many of them."""
    monkeypatch.setattr(module, "TILE_QUERIES", 7)
    monkeypatch.setattr(module, "TILE_BANK_ROWS", 50)
    monkeypatch.setattr(module, "QUERY_BLOCK", 16)


def random_rows(seed, count, dim, offset=0.0, scale=1.0):
    return offset + scale * np.random.default_rng(seed).normal(size=(count, dim))


def loop_scores(bank, queries, k):
    bank, queries = np.asarray(bank, np.float64), np.asarray(queries, np.float64)
    return np.array([-sorted(((query - row) ** 2).sum() for row in bank)[k - 1] for query in queries])


def test_equal_to_golden_values():
    golden = np.load(GOLDEN / "knn.npz")
    ks = (1, 10, 50, 300)
    found = knn_scores(golden["bank"], golden["queries"], ks)
    for column, k in enumerate(ks):
        np.testing.assert_allclose(-found[:, column], golden[f"k{k}/squared_l2"], rtol=1e-5, atol=1e-6)
        assert torch.equal(found[:, column], knn_score(golden["bank"], golden["queries"], k))


@pytest.mark.parametrize("k", [1, 2, 17, 60, 230])
def test_equal_to_explicit_loop_across_tiles(small_tiles, k):
    bank, queries = random_rows(0, 230, 12).astype(np.float32), random_rows(1, 33, 12).astype(np.float32)
    np.testing.assert_allclose(knn_score(bank, queries, k), loop_scores(bank, queries, k), rtol=1e-5)


@pytest.mark.parametrize(("offset", "scale"), [(0, 1000), (1000, 1), (-300, 0.01), (0, 1e-4)])
def test_accurate_far_from_the_origin(offset, scale):
    bank = random_rows(0, 300, 64, offset, scale).astype(np.float32)
    queries = random_rows(1, 20, 64, offset, scale).astype(np.float32)
    np.testing.assert_allclose(knn_score(bank, queries, 9), loop_scores(bank, queries, 9), rtol=1e-5)


def test_accurate_where_clusters_are_far_apart_and_tight():
    center = random_rows(0, 4, 32, scale=100).repeat(50, axis=0)
    bank = (center + random_rows(1, 200, 32, scale=0.01)).astype(np.float32)
    queries = (center[::10] + random_rows(2, 20, 32, scale=0.01)).astype(np.float32)
    np.testing.assert_allclose(knn_score(bank, queries, 5), loop_scores(bank, queries, 5), rtol=1e-5)


def test_a_row_of_the_bank_is_at_distance_zero():
    bank = np.concatenate([random_rows(0, 50, 8, offset=30)] * 3).astype(np.float32)
    assert (knn_score(bank, bank[:50], 3) == 0).all()
    assert (knn_score(bank, bank[:50], 4) < 0).all()


def test_indices_are_the_nearest_rows_in_order(small_tiles):
    bank, queries = random_rows(0, 230, 12), random_rows(1, 33, 12)
    found = knn_search(bank, queries, (5, 2))
    distances = ((queries[:, None] - bank[None]) ** 2).sum(-1)
    np.testing.assert_array_equal(found.indices, np.argsort(distances, axis=1)[:, :5])
    np.testing.assert_allclose(-found.scores, np.sort(distances, axis=1)[:, [4, 1]], rtol=1e-12)


def test_half_precision_bank_is_searched_in_float32(small_tiles):
    bank = torch.from_numpy(random_rows(0, 300, 16)).half()
    queries = torch.from_numpy(random_rows(1, 20, 16)).float()
    found = knn_score(bank, queries, 10)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, loop_scores(bank.float(), queries, 10), rtol=1e-5)


def test_result_is_detached_and_inputs_are_untouched():
    bank = torch.randn(20, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    before = bank.detach().clone()
    found = knn_score(bank, bank, 2)
    assert not found.requires_grad and found.device.type == "cpu" and not found.is_inference()
    assert torch.equal(bank.detach(), before)


def test_autocast_and_low_matmul_precision_do_not_reach_the_search():
    bank, queries = random_rows(0, 100, 64).astype(np.float32), random_rows(1, 10, 64).astype(np.float32)
    expected = knn_score(bank, queries, 3)
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(knn_score(bank, queries, 3), expected)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("k", [0, -1, 21])
def test_k_out_of_range_is_refused_with_numbers(k):
    with pytest.raises(ValueError, match=rf"from 1 to 20.*got \[{k}\]"):
        knn_score(np.zeros((20, 3)), np.zeros((2, 3)), k)


def test_inputs_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\(20, 3\) and \(2, 4\)"):
        knn_score(np.zeros((20, 3)), np.zeros((2, 4)), 1)
    bank = np.zeros((20, 3))
    bank[[3, 7], 1] = np.nan, np.inf
    with pytest.raises(ValueError, match="2 of the bank's 20 rows"):
        knn_score(bank, np.zeros((2, 3)), 1)


def test_a_query_that_is_not_finite_spoils_no_other():
    bank, queries = random_rows(0, 60, 5).astype(np.float32), random_rows(1, 4, 5).astype(np.float32)
    expected = knn_score(bank, queries, 3)
    queries[1, 0] = np.nan
    found = knn_score(bank, queries, 3)
    assert found[1].isnan()
    assert torch.equal(found[[0, 2, 3]], expected[[0, 2, 3]])


def test_no_queries_give_no_scores():
    assert knn_scores(np.zeros((5, 3)), np.zeros((0, 3)), (1, 2)).shape == (0, 2)
