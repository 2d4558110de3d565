"""Rows of several runs as mean and standard deviation; runs with other settings, images or benchmarks never meet."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeVar

from utils.data.ood_table import OOD_SETS
from utils.evaluation.benchmark import BENCHMARKS
from utils.evaluation.names import METRICS
from utils.results.rows import Row

# What the runs of one group have in common; the seed, the file's hash, the machine and the date are not in it.
SAME = (
    *("method", "arch", "width", "id", "benchmark", "score", "given_k", "epochs", "positive"),
    *("id_images", "train_images", "id_files", "unlabelled", "trained_with"),
)
OF_A_RUN = ("id_accuracy_knn", "id_accuracy_probe", "dispersion", "compactness")
# Means over sets, in the order of tables. Over how many sets CIDER's and VOS's means are is in their names; near and
# far are OpenOOD's.
MEANS = ("mean (4)", "mean (5)", "mean (6)", "near", "far")

T = TypeVar("T")
Cell = dict[str, Any]  # column -> Spread, or what else has `mean`, `std` and a text


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of some runs; `std` is None for one run, and where a source gives none.

    runs: how many; None in numbers of others.
    """

    mean: Decimal
    std: Decimal | None = None
    decimals: int = 2
    runs: int | None = field(default=None, compare=False)

    def __str__(self) -> str:
        text = f"{self.mean:.{self.decimals}f}"
        return text if self.std is None else f"{text} ± {self.std:.{self.decimals}f}"


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but chance, or a line of a published table.

    Attributes:
        facts: what they share, by column.    runs: how many; 0 where a source does not say.
        cells: OOD set as shown -> its numbers.    means: the same by label.    run: what a run has once.
        sets: OOD set as shown -> its name in the tables of sets; "" for a folder of one's own.
        marks: OOD set or mean -> how a published number is known.
    """

    facts: Mapping[str, Any]
    runs: int
    cells: dict[str, Cell]
    means: dict[str, Cell]
    sets: dict[str, str]
    run: Cell = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)

    def cell(self, column: str) -> Cell:
        """The numbers of a set or a mean; none where there are none."""
        return self.cells.get(column) or self.means.get(column, {})


def by_columns(rows: Iterable[T], columns: Sequence[str]) -> dict[tuple, list[T]]:
    """The rows that agree in some columns, under what they have there, in the order in which each comes up first."""
    found = defaultdict(list)
    for row in rows:
        found[tuple(getattr(row, name) for name in columns)].append(row)
    return found


def aggregate(rows: Iterable[Row]) -> list[Group]:
    """Groups of the rows; the rows of one agree in SAME."""
    return [_group(dict(zip(SAME, key, strict=True)), found) for key, found in by_columns(rows, SAME).items()]


def _group(facts: dict[str, Any], rows: Sequence[Row]) -> Group:
    # The same run trained twice, with the same seed to the same numbers, counts once.
    runs = {
        (run[0].seed, *sorted((row.ood, *(getattr(row, metric) for metric in METRICS)) for row in run)): run
        for run in by_columns(rows, ["checkpoint_sha256"]).values()
    }.values()
    # A name that stands for another number of images in another run has the number beside it.
    counts = {name: len({row.images for row in its}) for (name,), its in by_columns(rows, ["ood"]).items()}
    runs = [{row.ood if counts[row.ood] == 1 else f"{row.ood}: {row.images}": row for row in run} for run in runs]
    found = {name: [run[name] for run in runs if name in run] for run in runs for name in run}
    whole = {rows[0].set for name, rows in found.items() if len(rows) == len(runs) and name == rows[0].set}
    ks = sorted({row.K for row in rows if row.K})
    return Group(
        facts | {"K": " or ".join(map(str, ks))},
        len(runs),
        cells={name: _spreads(rows, (*METRICS, "separability")) for name, rows in found.items()},
        # The mean over sets is taken in each run; its spread is over the runs.
        means={
            label: {
                metric: spread([statistics.mean(getattr(run[name], metric) for name in members) for run in runs])
                for metric in METRICS
            }
            for label, members in means_of(facts["benchmark"], facts["id"], whole)
        },
        sets={name: rows[0].set for name, rows in found.items()},
        run=_spreads([next(iter(run.values())) for run in runs], OF_A_RUN),
    )


def means_of(benchmark: str, id_name: str, whole: set[str]) -> list[tuple[str, list[str]]]:
    """Labels and members of the benchmark's means, given the sets that are whole in all runs.

    Of several groups one that lacks sets is there too, under a name that says which it has; a mean over all is not.
    """
    groups = BENCHMARKS[benchmark].groups.get(id_name, {})
    found = []
    for group, members in groups.items():
        there = [name for name in members if name in whole]
        if there and len(there) == len(members):
            found.append((f"mean ({len(members)})" if len(groups) == 1 else group, there))
        elif there and len(groups) > 1:
            found.append((f"{group} ({len(there)} of {len(members)}: {', '.join(there)})", there))
    return found


def line(facts: Mapping[str, Any], rows: Sequence[Any], numbers: Mapping[str, Cell], **more: Any) -> Group:
    """A group of what is there as it is shown, a row for each OOD set or mean.

    Args:
        rows: with `ood` and `runs`.    numbers: OOD set or mean -> its cell.
    """
    means = {name: cell for name, cell in numbers.items() if name.startswith(("mean (", "near", "far"))}
    cells = {name: cell for name, cell in numbers.items() if name not in means}
    return Group(facts, rows[0].runs or 0, cells, means, {name: name.partition(" (")[0] for name in cells}, **more)


def columns_of(groups: Sequence[Group]) -> list[str]:
    """The OOD sets of some groups of one benchmark in the order of tables, then the means."""
    facts = groups[0].facts
    sets = {name: of for group in groups for name, of in group.sets.items()}
    order = [*BENCHMARKS[facts["benchmark"]].sets(facts["id"]), *(row.name for row in OOD_SETS)]
    means = {label for group in groups for label in group.means}
    return [
        *sorted(sets, key=lambda name: (order.index(sets[name]) if sets[name] in order else len(order), name)),
        *sorted(means, key=lambda label: (MEANS.index(label) if label in MEANS else len(MEANS), label)),
    ]


def _spreads(rows: Sequence[Row], columns: Sequence[str]) -> Cell:
    values = {name: [getattr(row, name) for row in rows] for name in columns}
    return {name: spread(each) for name, each in values.items() if None not in each}


def spread(values: Sequence[Decimal]) -> Spread:
    """Mean and sample standard deviation (divided by n - 1)."""
    std = statistics.stdev(values) if len(values) > 1 else None
    return Spread(statistics.mean(values), std, runs=len(values))
