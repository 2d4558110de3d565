"""Rows of several runs as mean and standard deviation; runs with other settings, images or benchmarks never meet."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from utils.data.ood_table import OOD_SETS
from utils.evaluation.benchmark import BENCHMARKS
from utils.evaluation.names import METRICS
from utils.results.rows import Row

# What the runs of one group have in common; the seed, the file's hash, the machine and the date are not in it.
SAME = (
    *("method", "arch", "width", "id", "benchmark", "score", "K", "epochs", "positive"),
    *("id_images", "train_images", "id_files", "unlabelled", "trained_with"),
)
OF_A_RUN = ("id_accuracy_knn", "id_accuracy_probe", "dispersion", "compactness")
# Means over sets, in the order of tables. Over how many sets CIDER's and VOS's means are is in their names; near and
# far are OpenOOD's.
MEANS = ("mean (4)", "mean (5)", "mean (6)", "near", "far")

Cell = dict[str, "Spread"]  # column -> value


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of some runs; `std` is None for one run, and where a source gives none."""

    mean: Decimal
    std: Decimal | None = None
    decimals: int = 2

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


def aggregate(rows: Iterable[Row]) -> list[Group]:
    """Groups of the rows, in the order in which each comes up first; the rows of one agree in SAME."""
    groups: dict[tuple, dict[str, list[Row]]] = {}
    for row in rows:
        runs = groups.setdefault(tuple(getattr(row, name) for name in SAME), {})
        runs.setdefault(row.checkpoint_sha256, []).append(row)
    return [_group(dict(zip(SAME, key, strict=True)), list(runs.values())) for key, runs in groups.items()]


def _group(facts: dict[str, Any], runs: list[list[Row]]) -> Group:
    runs = _different(runs)
    by_set = [_by_set(run, runs) for run in runs]
    found = {name: [run[name] for run in by_set if name in run] for run in by_set for name in run}
    whole = {rows[0].set for name, rows in found.items() if len(rows) == len(runs) and name == rows[0].set}
    return Group(
        facts,
        len(runs),
        cells={name: _spreads(rows, (*METRICS, "separability")) for name, rows in found.items()},
        means={
            label: {metric: spread([_mean(run, members, metric) for run in by_set]) for metric in METRICS}
            for label, members in means_of(facts["benchmark"], facts["id"], whole)
        },
        sets={name: rows[0].set for name, rows in found.items()},
        run=_spreads([run[0] for run in runs], OF_A_RUN),
    )


def _different(runs: list[list[Row]]) -> list[list[Row]]:
    """The same run trained twice, with the same seed to the same numbers, counts once."""
    found = {}
    for run in runs:
        numbers = sorted((row.ood, *(getattr(row, metric) for metric in METRICS)) for row in run)
        found.setdefault((run[0].seed, *numbers), run)
    return list(found.values())


def _by_set(run: list[Row], runs: list[list[Row]]) -> dict[str, Row]:
    """OOD set -> row; a name that stands for another number of images in another run has the number beside it."""
    counts: dict[str, set[int]] = {}
    for row in (row for each in runs for row in each):
        counts.setdefault(row.ood, set()).add(row.images)
    return {row.ood if len(counts[row.ood]) == 1 else f"{row.ood}: {row.images}": row for row in run}


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


def _mean(run: Mapping[str, Row], members: Sequence[str], metric: str) -> Decimal:
    """The mean over sets is taken in each run; its spread is over the runs."""
    return statistics.mean(getattr(run[name], metric) for name in members)


def columns_of(groups: Sequence[Group]) -> list[str]:
    """The OOD sets of some groups of one benchmark in the order of tables, then the means."""
    facts, sets = groups[0].facts, {}
    for group in groups:
        sets |= group.sets
    order = [*BENCHMARKS[facts["benchmark"]].sets(facts["id"]), *(row.name for row in OOD_SETS)]
    place = {name: order.index(of) if of in order else len(order) for name, of in sets.items()}
    means = {label for group in groups for label in group.means}
    return [
        *sorted(sets, key=lambda name: (place[name], name)),
        *sorted(means, key=lambda label: (MEANS.index(label) if label in MEANS else len(MEANS), label)),
    ]


def _spreads(rows: Sequence[Row], columns: Sequence[str]) -> Cell:
    values = {name: [getattr(row, name) for row in rows] for name in columns}
    return {name: spread(each) for name, each in values.items() if None not in each}


def spread(values: Sequence[Decimal]) -> Spread:
    """Mean and sample standard deviation (divided by n - 1)."""
    return Spread(statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None)
