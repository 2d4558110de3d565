"""How much better than CIDER another objective is: rows of results/differences.csv, and their tables."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from utils.evaluation.grid import Grid
from utils.files import REPOSITORY
from utils.results.aggregate import by_columns, line
from utils.results.rows import Record
from utils.results.tables import by_method

DIFFERENCES = REPOSITORY / "results" / "differences.csv"
# What two runs have in common that are compared; their seeds are the same, too.
SAME = ("arch", "width", "id", "benchmark", "score", "epochs", "positive", "id_images", "train_images")


@dataclass(frozen=True, kw_only=True)
class Difference(Record):
    """Mean AUROC of a method minus CIDER's with the same seeds and score, in points; see `rows.Row`.

    Attributes:
        ood: set as shown, or a mean over some.    runs: how many pairs.
        low, high: ends of the 95 % interval, see utils/results/paired.py.
    """

    method: str
    arch: str
    width: int
    id: str
    benchmark: str
    score: str
    epochs: int
    positive: str
    id_images: int
    train_images: int
    ood: str
    runs: int
    auroc: Decimal
    low: Decimal
    high: Decimal
    experiment: str = ""
    std = None  # it stands in tables where others have a mean and its deviation

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes a row another one; a row with the same of these replaces the older one."""
        return *(getattr(self, name) for name in SAME), self.method, self.ood

    def __str__(self) -> str:
        return f"{self.auroc:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"


def tables(rows: Sequence[Difference]) -> list[Grid]:
    """A table for each ID set and benchmark, with a line for each method and score."""
    return [_table(its) for its in by_columns(rows, ["id", "benchmark"]).values()]


def _table(rows: Sequence[Difference]) -> Grid:
    same = (*SAME, "method", "runs")
    groups = [
        line(dict(zip(same, facts, strict=True), unlabelled=""), its, {row.ood: {"auroc": row} for row in its})
        for facts, its in by_columns(rows, same).items()
    ]
    grid = by_method(groups, metrics=("auroc",))
    said = "mean difference [95 % interval: pairs of runs, ID and OOD images drawn with replacement], in points"
    heading = grid.heading.replace("AUROC ↑ in %", "AUROC ↑ minus CIDER's with the same seed and score")
    return replace(grid, heading=heading, footer=[said, *grid.footer])
