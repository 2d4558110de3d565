"""Exact nearest-neighbour search in bounded memory."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from utils.evaluation.knn_float import FloatChunk
from utils.evaluation.knn_int8 import Int8Chunk, int8_pays

ArrayLike = Tensor | np.ndarray

# Distances are found in tiles of queries x bank rows; large ones were the fastest, and these bound the memory.
TILE_QUERIES = 1024
TILE_BANK_ROWS = 65536
TILE_BANK_VALUES = 2**25
QUERY_BLOCK = 16384
# A search in float32 is repeated in float64 for the rows where rounding might exceed this share of the distance.
RELATIVE_ERROR = 1e-5


class Neighbours(NamedTuple):
    """Result of `knn_search`: scores (N, len(ks)), and the bank rows of the nearest, nearest first, (N, max(ks))."""

    scores: Tensor
    indices: Tensor


@torch.no_grad()
def knn_search(bank: ArrayLike, queries: ArrayLike, ks: Sequence[int]) -> Neighbours:
    """Exact nearest neighbours of every query, with the scores for several k; arguments and errors as in `knn_score`.

    |q - b|^2 = |q|^2 + |b|^2 - 2 q.b loses digits where features lie far from the origin or close together. So the
    bank's mean is taken off first, the chosen neighbour's distance is computed anew from the difference q - b, and
    queries whose distance is small beside the rounding of the search are searched again in float64. On a CPU with 8-bit
    products, these tell first which rows need a float32 product at all (knn_int8.py).
    """
    bank, queries, ks = _checked(bank, queries, ks)
    center = _mean_row(bank)
    scores, indices = [], []
    for block in queries.split(QUERY_BLOCK):
        block_scores, block_indices = _search(bank, block, ks, center)
        doubtful = _doubtful_rows(block, center, block_scores) if block.dtype != torch.float64 else ()
        if len(doubtful):
            again = _search(bank, block[doubtful].double(), ks, center)
            block_scores[doubtful], block_indices[doubtful] = again[0].to(block_scores.dtype), again[1]
        scores.append(block_scores)
        indices.append(block_indices)
    return Neighbours(torch.cat(scores), torch.cat(indices))


def _checked(bank: ArrayLike, queries: ArrayLike, ks: Sequence[int]) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    queries = torch.as_tensor(queries).detach()
    bank = torch.as_tensor(bank).detach().to(queries.device)
    if bank.ndim != 2 or queries.ndim != 2 or bank.shape[1] != queries.shape[1]:
        raise ValueError(f"expected bank (M, D) and queries (N, D), got {tuple(bank.shape)} and {tuple(queries.shape)}")
    ks = tuple(int(k) for k in ks)
    wrong = [k for k in ks if not 1 <= k <= len(bank)]
    if wrong or not ks:
        raise ValueError(f"k must be from 1 to {len(bank)}, the number of rows in the bank, got {wrong or 'none'}")
    precise = torch.float64 in (bank.dtype, queries.dtype)
    return bank, queries.to(torch.float64 if precise else torch.float32), ks


def _mean_row(bank: Tensor) -> Tensor:
    total = torch.zeros(bank.shape[1], dtype=torch.float64, device=bank.device)
    for rows in bank.split(1024):
        total += rows.sum(0, dtype=torch.float64)
    if not total.isfinite().all():
        count = sum(int((~rows.isfinite().all(1)).sum()) for rows in bank.split(65536))
        raise ValueError(f"{count:,} of the bank's {len(bank):,} rows hold values that are not finite")
    return total / len(bank)


def _search(bank: Tensor, queries: Tensor, ks: tuple[int, ...], center: Tensor) -> tuple[Tensor, Tensor]:
    """Scores (N, len(ks)) and sorted indices (N, max(ks)) in the precision of `queries`."""
    k = max(ks)
    bank_rows = max(min(TILE_BANK_ROWS, TILE_BANK_VALUES // bank.shape[1]), 4 * k)
    tiles = (queries - center.to(queries.dtype)).split(TILE_QUERIES)
    best: list[tuple[Tensor, Tensor] | None] = [None] * len(tiles)
    with _full_precision(queries.device.type):
        for start in range(0, len(bank), bank_rows):
            rows = bank[start : start + bank_rows]
            chunk = (Int8Chunk if int8_pays(queries, len(rows), k) else FloatChunk)(rows, start, center, tiles[0], k)
            for i, tile in enumerate(tiles):
                best[i] = _merged(best[i], chunk.nearest(tile), k)
            del chunk  # its memory is free before the next one takes its own
    distances, indices = (torch.cat(part) for part in zip(*best, strict=True))
    indices = indices.gather(1, distances.argsort(dim=1, stable=True))
    columns = [indices[:, k - 1] for k in ks]
    return torch.stack([-_squared_distance(bank, queries, column) for column in columns], dim=1), indices


def _merged(best: tuple[Tensor, Tensor] | None, new: tuple[Tensor, Tensor], k: int) -> tuple[Tensor, Tensor]:
    if best is None:
        return new
    distances, indices = (torch.cat(pair, dim=1) for pair in zip(best, new, strict=True))
    nearest, position = distances.topk(min(k, distances.shape[1]), dim=1, largest=False, sorted=False)
    return nearest, indices.gather(1, position)


def _squared_distance(bank: Tensor, queries: Tensor, rows: Tensor) -> Tensor:
    """|q - b|^2 of each query and its own row of the bank, (N,)."""
    return torch.cat(
        [
            (some - bank[row].to(some.dtype)).square().sum(1)
            for some, row in zip(queries.split(4096), rows.split(4096), strict=True)
        ]
    )


def _doubtful_rows(queries: Tensor, center: Tensor, scores: Tensor) -> Tensor:
    """Queries whose neighbours float32 may have put in a wrong order by more than RELATIVE_ERROR of their distance."""
    length = (queries - center.to(queries.dtype)).norm(dim=1)
    # Only rows about as far as the neighbour can be mistaken for it, so |b| <= |q| + |q - b| for those that matter.
    rounding = torch.finfo(queries.dtype).eps / 2 * (length.square() + (length + scores.amin(1).neg().sqrt()).square())
    return (rounding > RELATIVE_ERROR * -scores.amax(1)).nonzero().squeeze(1)


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
