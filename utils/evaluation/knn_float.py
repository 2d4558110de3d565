"""Distances to a part of the bank by a product in float32 or float64."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


class FloatChunk:
    """Rows of the bank, centred, with the buffer that holds their distances to one tile of queries.

    Args:
        rows: (M, D), of which the first is row `start` of the bank.    center: (D,), which is taken off every row.
        largest_tile: (N, D), as many queries as come at once, in the precision and on the device of the search.
        k: neighbours wanted; all rows where there are fewer.
    """

    def __init__(self, rows: Tensor, start: int, center: Tensor, largest_tile: Tensor, k: int) -> None:
        self.start = start
        self.k = min(k, len(rows))
        # Searching minima of groups and then the best groups looks at M/g + k*g values, fewest at g = sqrt(M/k).
        # A power of two keeps the rows of a tile aligned, on which the matrix product's speed depends.
        self.group = 2 ** round(math.log2(len(rows) / self.k) / 2)
        padding = -len(rows) % self.group
        centred = rows.to(largest_tile.dtype) - center.to(largest_tile.dtype)
        self.squares = F.pad(centred.square().sum(1), (0, padding), value=float("inf"))
        self.transposed = F.pad(centred, (0, 0, 0, padding)).T
        # New memory for every tile would cost a sixth of the time on a CPU, in page faults.
        self.distances = centred.new_empty(len(largest_tile), len(self.squares))

    def nearest(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """|b|^2 - 2 q.b and row number of the k nearest, both (N, k) and unsorted: |q|^2 is the same for all rows.

        The k smallest values lie in at most k groups, and those are the k groups of smallest minimum.

        Args:
            queries: (N, D), centred as the rows are.
        """
        distances = self.distances[: len(queries)]
        torch.addmm(self.squares, queries, self.transposed, alpha=-2, out=distances)
        if self.group == 1:
            nearest, columns = distances.topk(self.k, dim=1, largest=False, sorted=False)
            return nearest, columns + self.start
        grouped = distances.view(len(queries), self.group, len(self.squares) // self.group)
        groups = grouped.amin(1).topk(self.k, dim=1, largest=False, sorted=False).indices
        members = grouped.gather(2, groups[:, None].expand(-1, self.group, -1)).flatten(1)
        nearest, position = members.topk(self.k, dim=1, largest=False, sorted=False)
        # `position` counts through (member, group); a group's members lie one row of `grouped` apart.
        member = position // self.k
        columns = member * grouped.shape[2] + groups.gather(1, position - member * self.k)
        return nearest, columns + self.start
