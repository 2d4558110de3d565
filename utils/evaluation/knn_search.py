"""Exact nearest-neighbour search in bounded memory."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from utils.evaluation.arrays import ArrayLike, to_tensor

# Distances are found in tiles of queries x bank rows; large ones were the fastest, and these bound the memory.
TILE_QUERIES = 1024
TILE_BANK_ROWS = 65536
TILE_BANK_VALUES = 2**25
QUERY_BLOCK = 16384
# Tiles are searched in groups of columns, of a power of two, up to this one. It keeps their rows aligned, too, on which
# the matrix product's speed depends.
LARGEST_GROUP = 256
# A bank of so many bytes or fewer is kept as the product takes it, from one search to the next.
KEPT_BYTES = 2**28
# A search in float32 is repeated in float64 for the rows where rounding might exceed this share of the distance.
RELATIVE_ERROR = 1e-5


class Neighbours(NamedTuple):
    """Result of a search: scores (N, len(ks)), and the bank rows of the nearest, nearest first, (N, max(ks))."""

    scores: Tensor
    indices: Tensor


def knn_search(bank: ArrayLike, queries: ArrayLike, ks: Sequence[int]) -> Neighbours:
    """One search in a bank, on the device of the queries; arguments and errors as in `knn_score`, for several k."""
    queries = to_tensor(queries)
    return Bank(to_tensor(bank).to(queries.device)).search(queries, ks)


class Bank:
    """Features that neighbours are searched among: prepared once, for any number of searches.

    |q - b|^2 = |q|^2 + |b|^2 - 2 q.b loses digits where features lie far from the origin or close together. So the
    bank's mean is taken off first, the chosen neighbour's distance is computed anew from the difference q - b, and
    queries whose distance is small beside the rounding of the search are searched again in float64.

    Args:
        rows: (M, D), on the device to search on; float16 is searched in float32.
    Raises:
        ValueError: no rows, not two-dimensional, or not finite.
    """

    def __init__(self, rows: ArrayLike) -> None:
        self.rows = to_tensor(rows)
        if self.rows.ndim != 2 or not len(self.rows):
            raise ValueError(f"expected a bank (M, D) of at least one row, got {tuple(self.rows.shape)}")
        self._center = _mean_row(self.rows)
        self._kept: dict[torch.dtype, list[_Chunk]] = {}

    @torch.no_grad()
    def search(self, queries: ArrayLike, ks: Sequence[int]) -> Neighbours:
        """Exact nearest neighbours of every query (N, D), on the device of the bank; errors as in `knn_score`."""
        queries, count = to_tensor(queries), len(self.rows)
        if queries.ndim != 2 or queries.shape[1] != self.rows.shape[1]:
            shapes = f"{tuple(self.rows.shape)} and {tuple(queries.shape)}"
            raise ValueError(f"expected bank (M, D) and queries (N, D), got {shapes}")
        if wrong := [k for k in ks if not 1 <= k <= count]:
            raise ValueError(f"k must be from 1 to {count}, the number of rows in the bank, got {wrong}")
        precise = torch.float64 in (self.rows.dtype, queries.dtype)
        found = []
        for block in queries.to(torch.float64 if precise else torch.float32).split(QUERY_BLOCK):
            scores, indices = self._search(block, ks)
            doubtful = () if precise else self._doubtful(block, scores)
            if len(doubtful):
                again = self._search(block[doubtful].double(), ks)
                scores[doubtful], indices[doubtful] = again[0].to(scores.dtype), again[1]
            found.append((scores, indices))
        return Neighbours(*map(torch.cat, zip(*found, strict=True)))

    def _search(self, queries: Tensor, ks: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Scores (N, len(ks)) and sorted indices (N, max(ks)) in the precision of `queries`."""
        k = max(ks)
        tiles = (queries - self._center.to(queries.dtype)).split(TILE_QUERIES)
        best: list[tuple[Tensor, Tensor] | None] = [None] * len(tiles)
        buffer = queries.new_empty(0)
        with _full_precision(queries.device.type):
            for chunk in self._chunks(queries.dtype, k):
                if not len(buffer):
                    # New memory for every tile would cost a sixth of the time on a CPU, in page faults.
                    buffer = queries.new_empty(len(tiles[0]) * len(chunk.squares))
                for i, tile in enumerate(tiles):
                    best[i] = _merged(best[i], chunk.nearest(tile, k, buffer), k)
                del chunk  # its memory is free before the next one takes its own
        distances, indices = (torch.cat(part) for part in zip(*best, strict=True))
        indices = indices.gather(1, distances.argsort(dim=1, stable=True))
        nearest = (self.rows[indices[:, k - 1]].to(queries.dtype) for k in ks)
        return torch.stack([-(queries - rows).square().sum(1) for rows in nearest], dim=1), indices

    def _chunks(self, dtype: torch.dtype, k: int) -> "Iterable[_Chunk]":
        if dtype in self._kept:
            return self._kept[dtype]
        size = max(min(TILE_BANK_ROWS, TILE_BANK_VALUES // self.rows.shape[1]), 4 * k)
        starts = range(0, len(self.rows), size)
        chunks = (_Chunk(self.rows[start : start + size], start, self._center, dtype) for start in starts)
        if self.rows.numel() * dtype.itemsize > KEPT_BYTES:
            return chunks
        return self._kept.setdefault(dtype, list(chunks))

    def _doubtful(self, queries: Tensor, scores: Tensor) -> Tensor:
        """Queries whose neighbours float32 may have put in a wrong order by more than RELATIVE_ERROR of distance."""
        length = (queries - self._center.to(queries.dtype)).norm(dim=1)
        # Only rows about as far as the neighbour can be mistaken for it, so |b| <= |q| + |q - b| for those that matter.
        reach = length + scores.amin(1).neg().sqrt()
        rounding = torch.finfo(queries.dtype).eps / 2 * (length.square() + reach.square())
        return (rounding > RELATIVE_ERROR * -scores.amax(1)).nonzero().squeeze(1)


class _Chunk:
    """Rows of the bank, of which the first is row `start`, centred, and filled up to whole groups."""

    def __init__(self, rows: Tensor, start: int, center: Tensor, dtype: torch.dtype) -> None:
        self.start, self.count = start, len(rows)
        padding = -len(rows) % LARGEST_GROUP
        centred = rows.to(dtype) - center.to(dtype)
        self.squares = F.pad(centred.square().sum(1), (0, padding), value=float("inf"))
        self.transposed = F.pad(centred, (0, 0, 0, padding)).T

    def nearest(self, queries: Tensor, k: int, buffer: Tensor) -> tuple[Tensor, Tensor]:
        """|b|^2 - 2 q.b and row number of the k nearest, both (N, k) and unsorted: |q|^2 is the same for all rows.

        The k smallest values lie in at most k groups, and those are the k groups of smallest minimum. Searching minima
        and then the best groups looks at M/g + k*g values, fewest at g = sqrt(M/k).

        Args:
            queries: (N, D), centred as the rows are.    k: all rows where there are fewer.
            buffer: at least N * len(self.squares) values, which are overwritten.
        """
        k, columns = min(k, self.count), len(self.squares)
        distances = buffer[: len(queries) * columns].view(len(queries), columns)
        torch.addmm(self.squares, queries, self.transposed, alpha=-2, out=distances)
        group = min(2 ** round(math.log2(self.count / k) / 2), LARGEST_GROUP)
        grouped = distances.view(len(queries), group, columns // group)
        groups = grouped.amin(1).topk(k, dim=1, largest=False, sorted=False).indices
        members = grouped.gather(2, groups[:, None].expand(-1, group, -1)).flatten(1)
        nearest, position = members.topk(k, dim=1, largest=False, sorted=False)
        # `position` counts through (member, group); a group's members lie one row of `grouped` apart.
        member = position // k
        column = member * grouped.shape[2] + groups.gather(1, position - member * k)
        # Filling is among the nearest of queries that are not finite alone.
        return nearest, column.clamp_(max=self.count - 1) + self.start


def _mean_row(bank: Tensor) -> Tensor:
    mean = sum(rows.sum(0, dtype=torch.float64) for rows in bank.split(1024)) / len(bank)
    if not mean.isfinite().all():
        count = int((~bank.isfinite().all(1)).sum())
        raise ValueError(f"{count:,} of the bank's {len(bank):,} rows hold values that are not finite")
    return mean


def _merged(best: tuple[Tensor, Tensor] | None, new: tuple[Tensor, Tensor], k: int) -> tuple[Tensor, Tensor]:
    if best is None:
        return new
    distances, indices = (torch.cat(pair, dim=1) for pair in zip(best, new, strict=True))
    nearest, position = distances.topk(min(k, distances.shape[1]), dim=1, largest=False, sorted=False)
    return nearest, indices.gather(1, position)


@contextmanager
def _full_precision(device_type: str) -> Iterator[None]:
    """Products in true float32: neither autocast nor TF32 may round the distances."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device_type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
