"""How much better than another method one is: rows of results/differences.csv, and their tables."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from utils.evaluation.grid import Grid
from utils.files import REPOSITORY
from utils.results.aggregate import Group
from utils.results.tables import by_method, method_label

DIFFERENCES = REPOSITORY / "results" / "differences.csv"
# What runs have in common that are compared.
SAME = ("arch", "width", "id", "benchmark", "score", "epochs", "positive", "id_images", "train_images", "id_files")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Mean AUROC of a method minus that of `against` with the same seeds, in points; see `rows.Row`.

    Attributes:
        ood: set as shown, or a mean over some.    set: its name in the table; empty for means and folders of one's own.
        seeds: how many pairs of runs.
        low, high: 95 % interval, see utils/results/paired.py.
    """

    method: str
    against: str
    arch: str
    width: int
    id: str
    benchmark: str
    score: str
    epochs: int
    positive: str
    id_images: int
    train_images: int
    id_files: str = ""
    ood: str
    set: str = ""
    seeds: int
    auroc: Decimal
    low: Decimal
    high: Decimal
    experiment: str = ""
    std = None  # it stands in tables where others have a mean and a deviation

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes a row another one; a row with the same of these replaces the older one."""
        return *(getattr(self, name) for name in SAME), self.method, self.against, self.ood

    def check(self, where: str) -> None:
        """Any is fine."""

    def __str__(self) -> str:
        return f"{self.auroc:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"


def tables(rows: Sequence[Difference]) -> list[Grid]:
    """A table for each ID set, benchmark and number of epochs."""
    lines: dict[tuple, list[Difference]] = {}
    for row in rows:
        lines.setdefault((*row.key[:-1], row.seeds), []).append(row)
    of_table: dict[tuple, list[Group]] = {}
    for members in lines.values():
        facts = asdict(members[0]) | {"unlabelled": ""}
        means = [row for row in members if row.ood.split(" ")[0] in ("mean", "near", "far")]
        cells = [row for row in members if row not in means]
        group = Group(
            facts,
            facts["seeds"],
            cells={row.ood: {"auroc": row} for row in cells},
            means={row.ood: {"auroc": row} for row in means},
            sets={row.ood: row.set for row in cells},
        )
        of_table.setdefault(tuple(facts[name] for name in ("id", "benchmark", "against")), []).append(group)
    return [_table(groups) for groups in of_table.values()]


def _table(groups: Sequence[Group]) -> Grid:
    grid = by_method(groups, metrics=("auroc",))
    other = method_label(groups[0].facts["against"])
    said = "mean difference [95 % interval: pairs of runs, ID and OOD images drawn with replacement], in points"
    return Grid(
        grid.heading.replace("AUROC ↑ in %", f"AUROC ↑ minus that of {other} with the same seed and score"),
        grid.head,
        grid.body,
        [said, *grid.footer],
    )
