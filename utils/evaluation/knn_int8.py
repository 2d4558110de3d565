"""Distances to a part of the bank in two steps: an 8-bit product rules most rows out, those left are measured exactly.

On a CPU with instructions for it, a product of 8-bit integers is about five times as fast as one in float32. Rounding
errors grow with the length of what is rounded, so the mean c of its cluster is taken off every row of the bank. Queries
and what is left of the rows are rounded to integers X = floor(x / s + u), where s is their largest value / 126 and u
one random number from [0, 1) for each column, so that s X is x on average. For a query x and a row y + c,
x.y - s_x s_y X.Y is then a sum of independent terms of mean zero, each in an interval of known length, and by
Hoeffding's inequality, whatever the data,

    2 (s_x s_y X.Y - x.y) >= -CERTAINTY * sqrt(a^2 s_y^2 + |y|^2 s_x^2),   a = |x| + sqrt(D) s_x >= |s_x X|,

with a probability of at least 1 - exp(-CERTAINTY^2 / 2). A row whose distance |y + c|^2 - 2 x.c - 2 s_x s_y X.Y, less
this bound, exceeds the distance of k other rows is none of the k nearest; all others are measured in float32.
"""

import math
import warnings
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from utils.evaluation.knn_float import FloatChunk

# One true neighbour in 10^14 is overlooked, so one search of 10,000 queries with K = 100 in 10^8.
CERTAINTY = 8.0
LARGEST = 126
CLUSTERS, SAMPLE = 32, 2048
# In larger groups the rows differ too much in length for one bound. Groups are ranked by minima over MINIMA of them.
LARGEST_GROUP, MINIMA = 32, 8
# What float32 adds to the error of a distance, as a share of |q|^2 + |r|^2.
ROUNDING = 8 * torch.finfo(torch.float32).eps
# Values of the bank that are measured at a time, from the cache.
PART_VALUES = 2**20
# For fewer queries or rows, or a larger share of neighbours, the preparation would cost more than it saves.
LEAST_QUERIES, LEAST_ROWS, LARGEST_SHARE = 256, 4096, 1 / 64


def int8_pays(queries: Tensor, rows: int, k: int) -> bool:
    """Whether `Int8Chunk` can search for these queries and is likely to be faster than `FloatChunk`."""
    fits = queries.device.type == "cpu" and queries.dtype == torch.float32
    large = len(queries) >= LEAST_QUERIES and rows >= LEAST_ROWS and k <= LARGEST_SHARE * rows
    return fits and large and _has_int8()


class _Tile(NamedTuple):
    """N queries and what their 8-bit products say about G groups of rows."""

    queries: Tensor
    scale: Tensor  # s of the queries, (N,)
    lowest: Tensor  # lower bound of the distances of a group, (N, G)
    guess: Tensor  # what the k-th smallest distance is likely to be at most, (N,)


class Int8Chunk:
    """Rows of the bank, centred and cut into groups: of one cluster, about as long, with a common scale.

    Arguments as of FloatChunk; the queries are float32 on the CPU.
    """

    def __init__(self, rows: Tensor, start: int, center: Tensor, largest_tile: Tensor, k: int) -> None:
        self.start, self.k = start, k
        self.float_chunk: FloatChunk | None = None
        self.float_arguments = (rows, start, center, largest_tile, k)
        self.use_float = False
        # Looking at all groups and then into the best k costs least at this size, as in FloatChunk.
        self.group = min(2 ** round(math.log2(len(rows) / k) / 2), LARGEST_GROUP)
        center = center.to(torch.float32)
        generator = torch.Generator().manual_seed(0)
        sample = torch.randperm(len(rows), generator=generator)[:SAMPLE]
        self.means = _cluster_means(rows[sample].to(torch.float32) - center)
        cluster, squares = self._clusters(rows, center)
        self.order, is_padding = _in_groups(cluster, squares, self.group)
        self.cluster = cluster[self.order[:: self.group]]
        self.dither, self.query_dither = torch.rand(2, rows.shape[1], generator=generator)
        self._round_rows(rows, center)
        self.squares = squares[self.order].masked_fill_(is_padding, torch.inf)
        shortest = (1 - ROUNDING) * self.squares.view(-1, self.group)[:, 0]
        terms = torch.stack([shortest, self.scale.square(), self.far2, torch.ones_like(self.scale)])
        in_cluster = F.one_hot(self.cluster, len(self.means)).T
        self.terms = torch.cat([terms, in_cluster])  # of the lower bound of a group's distances
        self.products = torch.empty(len(largest_tile), len(self.order), dtype=torch.int32)

    def _clusters(self, rows: Tensor, center: Tensor) -> tuple[Tensor, Tensor]:
        """Cluster and squared length of each row, centred."""
        clusters, squares = [], []
        for some in rows.split(1024):
            centred = some.to(torch.float32) - center
            clusters.append(_nearest_mean(centred, self.means))
            squares.append(centred.square().sum(1))
        return torch.cat(clusters), torch.cat(squares)

    def _round_rows(self, rows: Tensor, center: Tensor) -> None:
        self.centred = torch.empty(len(self.order), rows.shape[1])
        self.integers = torch.empty(self.centred.shape, dtype=torch.int8)
        self.scale, self.far2 = torch.empty(2, len(self.cluster))
        some = max(1024 // self.group, 1)  # groups that fit into the cache
        for first in range(0, len(self.scale), some):
            groups = slice(first, first + some)
            columns = slice(first * self.group, (first + some) * self.group)
            centred = torch.sub(rows[self.order[columns]].to(torch.float32), center, out=self.centred[columns])
            short = centred.view(-1, self.group, rows.shape[1]) - self.means[self.cluster[groups], None]
            self.far2[groups] = short.square().sum(2).amax(1)
            self.scale[groups] = _scale(short.flatten(1))
            short.div_(self.scale[groups, None, None]).add_(self.dither).floor_()
            self.integers[columns] = short.flatten(0, 1)

    def nearest(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """|b|^2 - 2 q.b and row number of the k nearest, both (N, k) and unsorted, as `FloatChunk.nearest`."""
        if self.use_float:
            return self._nearest_in_float(queries)
        tile = self._coarse(queries)
        distances, indices = self._within(tile, tile.guess)
        radius = distances.amax(1)
        missed = ~(radius <= tile.guess)
        if missed.any():
            # The k rows found bound the k-th distance: with that radius nothing nearer is left out.
            again = self._within(tile, radius.where(missed, -torch.inf))
            distances, indices = (
                torch.where(missed[:, None], *pair) for pair in zip(again, (distances, indices), strict=True)
            )
        return self._with_failures(queries, distances, indices)

    def _coarse(self, queries: Tensor) -> _Tile:
        scale = _scale(queries)
        integers = (queries / scale[:, None]).add_(self.query_dither).floor_().to(torch.int8)
        products = self.products[: len(queries)]
        torch._int_mm(integers, self.integers.T, out=products)
        lowest = products.view(len(queries), -1, self.group).amax(2).to(torch.float32)
        lowest.mul_(self.scale).mul_(-2 * scale[:, None])
        length = queries.norm(dim=1)
        reach2 = (length + math.sqrt(queries.shape[1]) * scale).square()
        to_means = (queries @ self.means.T).mul_(-2).sub_(ROUNDING * length.square()[:, None])
        # The bound is a root r. For any t > 0, r <= r^2 / 2t + t / 2, so that one product of matrices adds all terms.
        typical = CERTAINTY * (reach2 * self.scale.median().square() + self.far2.median() * scale.square()).sqrt()
        half = CERTAINTY**2 / (2 * typical)
        factors = torch.stack([torch.ones_like(scale), -half * reach2, -half * scale.square(), -typical / 2], dim=1)
        lowest.addmm_(torch.cat([factors, to_means], dim=1), self.terms)
        return _Tile(queries, scale, lowest, self._guess(lowest, typical))

    def _guess(self, lowest: Tensor, error: Tensor) -> Tensor:
        # Minima over several groups are fewer to rank. Of k rows thrown into `cells` at random some share one with
        # others, so the k-th smallest distance is about the `hit`-th smallest minimum.
        cells = lowest.shape[1] // MINIMA
        hit = max(1, round(cells * -math.expm1(-self.k / cells)))
        minima = lowest.view(len(lowest), MINIMA, cells).amin(1)
        kth = minima.topk(hit, dim=1, largest=False, sorted=False).values.amax(1)
        # `kth` is about one error too small. A guess that is too small costs a second look, one too large, many rows.
        return kth + 1.25 * error

    def _within(self, tile: _Tile, radius: Tensor) -> tuple[Tensor, Tensor]:
        """The k smallest distances and their rows among all rows that may be nearer than `radius`, (N,).

        Infinite, all k, for queries that have fewer such rows, or too many.
        """
        query, group = (tile.lowest <= radius[:, None]).nonzero(as_tuple=True)
        few = torch.bincount(query, minlength=len(radius)) <= 2 * self.k + len(self.scale) // 8
        if not few.all():
            query, group = query[few[query]], group[few[query]]
        members = self.products.view(-1, self.group).index_select(0, query * len(self.scale) + group)
        # `lowest` belongs to the largest product of a group. Others may be `less` than that and within the radius.
        less = (radius[query] - tile.lowest[query, group]) / (2 * tile.scale[query] * self.scale[group])
        least = members.amax(1) - less.clamp_(max=2.0**30).to(torch.int32)
        pair, member = (members >= least[:, None]).nonzero(as_tuple=True)
        return self._k_smallest(tile.queries, query[pair], group[pair] * self.group + member)

    def _k_smallest(self, queries: Tensor, query: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
        """Of the pairs (query, column), sorted by query: exact distances in rows of k, and rows of the bank."""
        distances = _products_of_pairs(queries, self.centred, query, column).mul_(-2).add_(self.squares[column])
        counts = torch.bincount(query, minlength=len(queries))
        first = counts.cumsum(0) - counts
        table = torch.full((len(queries), max(int(counts.max()), self.k)), torch.inf)
        table[query, torch.arange(len(query)) - first[query]] = distances
        nearest, position = table.topk(self.k, dim=1, largest=False, sorted=False)
        # Where a query has fewer pairs, the positions beyond its own say nothing.
        chosen = F.pad(column, (0, 1))[(first[:, None] + position).clamp_(max=len(column))]
        return nearest, self.order[chosen] + self.start

    def _with_failures(self, queries: Tensor, distances: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Search in float32 for queries that too many rows were left for, or that are not finite."""
        failed = ~(distances.amax(1) < torch.inf)
        if failed.any():
            distances[failed], indices[failed] = self._nearest_in_float(queries[failed])
            self.use_float = 2 * int(failed.sum()) > len(failed)
        return distances, indices

    def _nearest_in_float(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        if self.float_chunk is None:
            self.float_chunk = FloatChunk(*self.float_arguments)
        return self.float_chunk.nearest(queries)


def _cluster_means(sample: Tensor) -> Tensor:
    """A few rounds of k-means: any means will do, good ones leave fewer rows to be measured."""
    means = sample[:CLUSTERS]
    for _ in range(4):
        member = F.one_hot(_nearest_mean(sample, means), len(means)).to(torch.float32)
        means = (member.T @ sample) / member.sum(0).clamp_min_(1)[:, None]
    return means


def _nearest_mean(rows: Tensor, means: Tensor) -> Tensor:
    return (rows @ means.T).sub_(means.square().sum(1) / 2).argmax(1)


def _in_groups(cluster: Tensor, squares: Tensor, group: int) -> tuple[Tensor, Tensor]:
    """Rows by cluster and length, each cluster filled up to whole groups, and which are filling, (P,)."""
    by_length = squares.argsort()
    order = by_length[cluster[by_length].argsort(stable=True)]
    counts = torch.bincount(cluster)
    filled = -(-counts // group) * group
    filled[-1] += -filled.sum() % (MINIMA * group)
    member = torch.arange(int(filled.sum())) - (filled.cumsum(0) - filled).repeat_interleave(filled)
    own, first = (each.repeat_interleave(filled) for each in (counts, counts.cumsum(0) - counts))
    return order[first + torch.minimum(member, own - 1)], member >= own


def _scale(rows: Tensor) -> Tensor:
    return rows.abs().amax(1).clamp_min_(1e-12) / LARGEST


def _products_of_pairs(queries: Tensor, rows: Tensor, query: Tensor, column: Tensor) -> Tensor:
    """queries[query] . rows[column] of pairs sorted by query; one cacheful of rows at a time, as access is random."""
    size = max(PART_VALUES // rows.shape[1], 1)
    part = column // size
    counts = torch.bincount(part * len(queries) + query, minlength=-(-len(rows) // size) * len(queries))
    counts = counts.view(-1, len(queries))  # by part and query
    products = torch.empty(len(column))
    pairs_of_parts = part.to(torch.int16).argsort(stable=True).split(counts.sum(1).tolist())
    for pairs, ends, few in zip(pairs_of_parts, F.pad(counts.cumsum(1), (1, 0)), rows.split(size), strict=True):
        products[pairs] = _sampled_products(queries, few, ends, column[pairs] % size)
    return products


def _sampled_products(queries: Tensor, rows: Tensor, ends: Tensor, column: Tensor) -> Tensor:
    """Query . row for the columns of each query, which lie in `column` between its `ends`."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse")  # tensors of this kind are in beta, says torch
        wanted = torch.sparse_csr_tensor(
            ends, column, torch.zeros(len(column)), size=(len(queries), len(rows)), check_invariants=False
        )
        return torch.sparse.sampled_addmm(wanted, queries, rows.T, beta=0.0).values()


@cache
def _has_int8() -> bool:
    """Whether this CPU has the wide instructions, without the saturation of some, and torch the functions."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not torch.backends.mkldnn.is_available():
        return False
    largest = torch.full((64, 128), 127, dtype=torch.int8)
    try:
        exact = torch._int_mm(largest, -largest.T)
        sampled = _sampled_products(torch.ones(2, 3), torch.ones(4, 3), torch.tensor([0, 1, 2]), torch.tensor([3, 0]))
    except (AttributeError, RuntimeError):
        return False
    return bool((exact == -128 * 127**2).all() and (sampled == 3).all())
