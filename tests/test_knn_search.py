"""KNN search against golden values and explicit loops, where rounding is easy and where it is not."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.golden_rules import GOLDEN
from utils.evaluation import knn_search as module
from utils.evaluation.knn_search import Bank, knn_search
from utils.evaluation.scores import knn_score


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


def normal(seed, rows, columns):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def clusters(width):
    """Ten classes on the sphere, 4,500 rows and 300 queries."""
    centers = normal(0, 10, 48)
    rows = (centers.repeat(450, 1) + width * normal(1, 4500, 48)).contiguous()
    queries = centers.repeat(30, 1) + width * normal(2, 300, 48)
    return F.normalize(rows), F.normalize(queries)


def outliers():
    rows = normal(4, 4500, 32)
    rows[::900] *= 1e4
    rows[7, 3] = 1e6
    return rows, normal(5, 300, 32)


DATA = {
    "random": lambda: (F.normalize(normal(10, 5003, 33)), F.normalize(normal(11, 300, 33))),
    "rectified": lambda: (F.normalize(normal(12, 4500, 64).relu()), F.normalize(normal(13, 300, 64).relu())),
    "wide clusters": lambda: clusters(0.5),
    "tight clusters": lambda: clusters(1e-3),
    "one-hot": lambda: (F.one_hot(torch.arange(4500) % 40, 40).float(), normal(3, 300, 40)),
    "outliers": outliers,
    "far away": lambda: (1000 + normal(6, 4500, 32), 1000 + normal(7, 300, 32)),
    "equal rows": lambda: (normal(8, 3, 16).repeat(1500, 1), normal(9, 300, 16)),
    "half precision": lambda: (normal(14, 4500, 32).half(), normal(15, 300, 32)),
}


@pytest.mark.parametrize("k", [1, 9, 64])
@pytest.mark.parametrize("name", DATA)
def test_equal_to_explicit_distances(name, k):
    bank, queries = DATA[name]()
    found = knn_search(bank, queries, (k,))
    assert found.scores.dtype == torch.float32
    distances = torch.stack([(query - bank.double()).square().sum(1) for query in queries.double()])
    nearest = distances.sort(dim=1, stable=True).values[:, :k]
    np.testing.assert_allclose(-found.scores[:, 0], nearest[:, -1], rtol=1e-5, atol=1e-9)
    assert all(len(set(row)) == k for row in found.indices.tolist())
    of_found = distances.gather(1, found.indices)
    np.testing.assert_allclose(of_found, nearest, rtol=1e-4, atol=1e-6 * float(bank.double().square().mean()))


@pytest.mark.parametrize("kept", [0, 2**28])
def test_a_bank_is_prepared_once_and_gives_the_same_for_any_batches(small_tiles, monkeypatch, kept):
    monkeypatch.setattr(module, "KEPT_BYTES", kept)
    prepared = []
    chunk = module._Chunk
    monkeypatch.setattr(module, "_Chunk", lambda *given: prepared.append(1) or chunk(*given))
    rows, queries = normal(0, 230, 12), normal(1, 33, 12)
    wanted = knn_search(rows, queries, (4, 60))
    prepared.clear()
    bank = Bank(rows)
    found = [bank.search(some, (4, 60)) for some in queries.split(5)]
    assert torch.equal(torch.cat([each.indices for each in found]), wanted.indices)
    assert torch.equal(torch.cat([each.scores for each in found]), wanted.scores)
    assert torch.equal(bank.search(queries, (1,)).indices[:, 0], wanted.indices[:, 0])
    # With K = 60 a part of the bank has 240 rows, so that it is one; with K = 1 there are five parts of 50.
    assert len(prepared) == (1 if kept else 7 + 3 * 5)


def test_equal_to_golden_values():
    golden = np.load(GOLDEN / "knn.npz")
    ks = (1, 10, 50, 300)
    found = knn_search(golden["bank"], golden["queries"], ks).scores
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
    with pytest.raises(ValueError, match=r"at least one row, got \(0, 3\)"):
        knn_score(np.zeros((0, 3)), np.zeros((2, 3)), 1)


def test_a_query_that_is_not_finite_spoils_no_other():
    bank, queries = DATA["random"]()
    wanted = knn_score(bank, queries, 7)
    broken = queries.clone()
    broken[3, 1], broken[250, 0], broken[251] = torch.nan, torch.inf, torch.nan
    found = knn_score(bank, broken, 7)
    others = torch.ones(len(queries), dtype=torch.bool)
    others[[3, 250, 251]] = False
    assert found[[3, 251]].isnan().all() and found[250] == -torch.inf
    assert torch.equal(found[others], wanted[others])
    assert knn_score(bank, torch.full_like(queries, torch.nan), 7).isnan().all()


def test_arrays_may_have_any_layout():
    bank, queries = random_rows(0, 60, 5), random_rows(1, 9, 5)
    wanted = knn_score(bank, queries, 3)
    np.testing.assert_array_equal(knn_score(bank[::-1], queries[::-1], 3), wanted.flip(0))
    np.testing.assert_allclose(knn_score(bank[:, ::-1], queries[:, ::-1], 3), wanted)
    np.testing.assert_array_equal(knn_score(np.asfortranarray(bank), queries, 3), wanted)
    np.testing.assert_array_equal(knn_score(np.repeat(bank, 2, 0)[::2], queries, 3), wanted)


def test_no_queries_give_no_scores():
    assert knn_search(np.zeros((5, 3)), np.zeros((0, 3)), (1, 2)).scores.shape == (0, 2)
