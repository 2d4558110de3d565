"""The 8-bit search against explicit distances, where its bounds help and where they do not, and when it is used."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from utils.evaluation import knn_int8, knn_search
from utils.evaluation.knn_float import FloatChunk
from utils.evaluation.knn_int8 import CERTAINTY, Int8Chunk, int8_pays

pytestmark = pytest.mark.skipif(not knn_int8._has_int8(), reason="this CPU has no 8-bit products that pay")


def normal(seed, rows, columns):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def clusters(width):
    """Ten classes on the sphere, 4,500 rows and 300 queries."""
    centers = normal(0, 10, 48)
    rows = (centers.repeat(450, 1) + width * normal(1, 4500, 48)).contiguous()
    queries = centers.repeat(30, 1) + width * normal(2, 300, 48)
    return F.normalize(rows), F.normalize(queries)


def one_hot():
    return F.one_hot(torch.arange(4500) % 40, 40).float(), normal(3, 300, 40)


def outliers():
    rows = normal(4, 4500, 32)
    rows[::900] *= 1e4
    rows[7, 3] = 1e6
    return rows, normal(5, 300, 32)


def far_away():
    return 1000 + normal(6, 4500, 32), 1000 + normal(7, 300, 32)


def equal_rows():
    return normal(8, 3, 16).repeat(1500, 1), normal(9, 300, 16)


DATA = {
    "random": lambda: (F.normalize(normal(10, 5003, 33)), F.normalize(normal(11, 300, 33))),
    "rectified": lambda: (F.normalize(normal(12, 4500, 64).relu()), F.normalize(normal(13, 300, 64).relu())),
    "wide clusters": lambda: clusters(0.5),
    "tight clusters": lambda: clusters(1e-3),
    "one-hot": one_hot,
    "outliers": outliers,
    "far away": far_away,
    "equal rows": equal_rows,
    "half precision": lambda: (normal(14, 4500, 32).half(), normal(15, 300, 32)),
}


@pytest.fixture
def used(monkeypatch):
    """Counts the searches that begin with 8-bit products."""
    begun = []
    coarse = Int8Chunk._coarse
    monkeypatch.setattr(Int8Chunk, "_coarse", lambda *arguments: begun.append(1) or coarse(*arguments))
    return begun


def distances(bank, queries):
    bank, queries = bank.double(), queries.double()
    return torch.stack([(query - bank).square().sum(1) for query in queries])


@pytest.mark.parametrize("k", [1, 9, 64])
@pytest.mark.parametrize("name", DATA)
def test_equal_to_explicit_distances(used, name, k):
    bank, queries = DATA[name]()
    found = knn_search.knn_search(bank, queries, (k,))
    nearest = distances(bank, queries).sort(dim=1, stable=True).values[:, :k]
    assert used
    np.testing.assert_allclose(-found.scores[:, 0], nearest[:, -1], rtol=1e-5, atol=1e-9)
    assert all(len(set(row)) == k for row in found.indices.tolist())
    of_found = distances(bank, queries).gather(1, found.indices)
    np.testing.assert_allclose(of_found, nearest, rtol=1e-4, atol=1e-6 * float(bank.double().square().mean()))


def test_several_chunks_and_tiles(used, monkeypatch):
    monkeypatch.setattr(knn_search, "TILE_QUERIES", 50)
    monkeypatch.setattr(knn_search, "TILE_BANK_ROWS", 4100)
    monkeypatch.setattr(knn_int8, "PART_VALUES", 1000)
    bank, queries = normal(0, 9000, 20), normal(1, 300, 20)
    found = knn_search.knn_search(bank, queries, (30, 1))
    assert len(used) == 2 * 6  # the third chunk is small
    wanted = distances(bank, queries).sort(dim=1)
    np.testing.assert_allclose(-found.scores, wanted.values[:, [29, 0]], rtol=1e-5)
    assert torch.equal(found.indices, wanted.indices[:, :30])


def errors_and_bounds(chunk, queries):
    """Of 2 x.y by the 8-bit product, for every query and row, and the root in the bound."""
    tile = chunk._coarse(queries)
    rows = chunk.centred.double() - chunk.means[chunk.cluster].repeat_interleave(chunk.group, dim=0).double()
    scale, far2 = (each.repeat_interleave(chunk.group).double() for each in (chunk.scale, chunk.far2))
    query_scale = tile.scale[:, None].double()
    errors = 2 * (query_scale * scale * chunk.products[: len(queries)] - queries.double() @ rows.T)
    reach = queries.double().norm(dim=1, keepdim=True) + queries.shape[1] ** 0.5 * query_scale
    return errors, (reach**2 * scale**2 + far2 * query_scale**2).sqrt(), tile


@pytest.mark.parametrize("name", DATA)
def test_bounds_hold_for_every_pair(name):
    bank, queries = DATA[name]()
    center = bank.double().mean(0)
    queries = queries - center.float()
    chunk = Int8Chunk(bank, 0, center, queries, 5)
    errors, bounds, tile = errors_and_bounds(chunk, queries)
    assert (errors.abs() <= CERTAINTY * bounds).all()
    exact = chunk.squares.double() - 2 * queries.double() @ chunk.centred.double().T
    assert (tile.lowest.repeat_interleave(chunk.group, dim=1) <= exact).all()


@pytest.mark.parametrize("name", DATA)
def test_every_row_stands_in_one_group_of_its_cluster(name):
    bank, queries = DATA[name]()
    chunk = Int8Chunk(bank, 0, bank.double().mean(0), queries, 5)
    real = chunk.squares.isfinite()
    assert torch.equal(chunk.order[real].sort().values, torch.arange(len(bank)))
    np.testing.assert_allclose(chunk.centred, bank[chunk.order].float() - bank.double().mean(0).float())
    grouped = chunk.squares.view(-1, chunk.group)
    assert (grouped.diff(dim=1)[grouped[:, 1:].isfinite()] >= 0).all()


def test_errors_of_many_roundings_are_unbiased_and_well_inside_the_bound():
    """The root is a standard deviation for the worst fractions to round, 1.2 times that for all fractions alike."""
    bank, queries = normal(0, 4096, 64), normal(1, 256, 64)
    shares = []
    for seed in range(20):
        shuffle = torch.randperm(64, generator=torch.Generator().manual_seed(seed))  # each column meets other dither
        queries_now = queries[:, shuffle].contiguous()
        chunk = Int8Chunk(bank[:, shuffle].contiguous(), 0, torch.zeros(64), queries_now, 5)
        errors, bounds, _ = errors_and_bounds(chunk, queries_now)
        shares.append(errors / bounds)
    shares = torch.stack(shares)
    assert abs(float(shares.mean())) < 0.01
    assert 0.6 < float(shares.std()) < 1 / 1.2


def test_failures_are_searched_in_float32(monkeypatch):
    """Where thousands of rows are within the bound, 8-bit products are given up; where few are, for few queries."""
    in_float = []
    nearest = FloatChunk.nearest
    monkeypatch.setattr(FloatChunk, "nearest", lambda self, rows: in_float.append(len(rows)) or nearest(self, rows))
    monkeypatch.setattr(knn_search, "TILE_QUERIES", 100)
    knn_search.knn_search(*DATA["equal rows"](), (5,))
    assert in_float == [100, 100, 100]
    in_float.clear()
    knn_search.knn_search(*DATA["random"](), (5,))
    assert sum(in_float) < 30


def test_queries_that_are_not_finite_spoil_no_other():
    bank, queries = DATA["random"]()
    wanted = knn_search.knn_search(bank, queries, (7,)).scores
    broken = queries.clone()
    broken[3, 1], broken[250, 0], broken[251] = torch.nan, torch.inf, torch.nan
    found = knn_search.knn_search(bank, broken, (7,)).scores
    others = torch.ones(len(queries), dtype=torch.bool)
    others[[3, 250, 251]] = False
    assert found[[3, 251]].isnan().all() and found[250] == -torch.inf
    assert torch.equal(found[others], wanted[others])
    assert knn_search.knn_search(bank, torch.full_like(queries, torch.nan), (7,)).scores.isnan().all()


def test_the_same_search_gives_the_same_result_and_leaves_the_random_numbers_alone():
    bank, queries = DATA["random"]()
    torch.manual_seed(0)
    wanted = torch.rand(3)
    torch.manual_seed(0)
    first, second = (knn_search.knn_search(bank, queries, (7,)) for _ in range(2))
    assert torch.equal(torch.rand(3), wanted)
    assert torch.equal(first.scores, second.scores) and torch.equal(first.indices, second.indices)


def test_no_warning_reaches_the_user(recwarn):
    knn_search.knn_search(*DATA["random"](), (7,))
    assert not recwarn.list


def test_when_it_pays():
    queries = torch.zeros(256, 8)
    assert int8_pays(queries, 4096, 64)
    assert not int8_pays(queries[1:], 4096, 64)
    assert not int8_pays(queries, 4095, 63)
    assert not int8_pays(queries, 4096, 65)
    assert not int8_pays(queries.double(), 4096, 64)
    assert not int8_pays(queries.to("meta"), 4096, 64)


@pytest.mark.parametrize("fault", ["saturated", "missing", "old"])
def test_a_processor_without_exact_products_searches_in_float32(monkeypatch, used, fault):
    if fault == "saturated":
        monkeypatch.setattr(torch, "_int_mm", lambda a, b: (a.int() @ b.int()).clamp(-(2**15), 2**15 - 1))
    elif fault == "missing":
        monkeypatch.delattr(torch, "_int_mm")
    else:
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    knn_int8._has_int8.cache_clear()
    try:
        knn_search.knn_search(*DATA["random"](), (7,))
    finally:
        knn_int8._has_int8.cache_clear()
    assert not used
