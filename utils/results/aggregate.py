"""Rows of several runs as mean and standard deviation; runs with other settings or other images never meet."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from utils.data.id_records import find_id_set
from utils.data.ood_table import OOD_SETS, base_set, group_of
from utils.results.rows import EMBEDDING, METRICS, Row

# What the runs of one group have in common; the seed, the file's hash, the machine and the date are not in it.
SAME = (
    *("method", "architecture", "id", "score", "K", "epochs", "positive"),
    *("id_images", "train_images", "id_files", "unlabelled", "trained_with"),
)
RUN = "run"  # the key in `Group.cells` of what a run has once: ID accuracy, dispersion, compactness


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation of some runs; `std` is None for one run, and where a source gives none."""

    mean: float
    std: float | None = None
    decimals: int = 2

    def __str__(self) -> str:
        text = f"{self.mean:.{self.decimals}f}"
        return text if self.std is None else f"{text} ± {self.std:.{self.decimals}f}"


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but chance, or a line of a published table.

    Attributes:
        facts: what they share, by column.    runs: how many; 0 where a source does not say.
        cells: OOD set, or a mean over sets, or RUN -> column -> Spread.
    """

    facts: dict[str, str]
    runs: int
    cells: dict[str, dict[str, Spread]]

    @property
    def sets(self) -> list[str]:
        """OOD sets and means in the order of tables."""
        return sorted((name for name in self.cells if name != RUN), key=set_order)


def aggregate(rows: Iterable[Row], same: Sequence[str] = SAME) -> list[Group]:
    """Groups of the rows, in the order in which each comes up first.

    Args:
        same: columns in which the rows of a group agree; each combination of them is one group.
    """
    groups: dict[tuple[str, ...], dict[str, list[Row]]] = {}
    for row in rows:
        runs = groups.setdefault(tuple(row[name] for name in same), {})
        runs.setdefault(row["checkpoint_sha256"], []).append(row)
    return [_group(dict(zip(same, key, strict=True)), list(runs.values())) for key, runs in groups.items()]


def _group(facts: dict[str, str], runs: list[list[Row]]) -> Group:
    runs = _different(runs)
    by_set: list[dict[str, Row]] = [_by_set(run, runs) for run in runs]
    names = list(dict.fromkeys(name for run in by_set for name in run))
    cells = {name: _spreads([run[name] for run in by_set if name in run], (*METRICS, "separability")) for name in names}
    for label, members in _means(names, facts["id"]):
        complete = [run for run in by_set if all(name in run for name in members)]
        if len(complete) == len(by_set):
            cells[label] = _mean_spreads([[run[name] for name in members] for run in complete])
    cells[RUN] = _spreads([run[0] for run in runs], EMBEDDING[:-1])
    return Group(facts, len(runs), cells)


def _different(runs: list[list[Row]]) -> list[list[Row]]:
    """The same run trained twice, with the same seed to the same numbers, counts once."""
    found = {}
    for run in runs:
        numbers = sorted((row["ood"], *(row[metric] for metric in METRICS)) for row in run)
        found.setdefault((run[0]["seed"], *numbers), run)
    return list(found.values())


def _by_set(run: list[Row], runs: list[list[Row]]) -> dict[str, Row]:
    """OOD set -> row; a name that stands for another number of images in another run has the number beside it."""
    counts: dict[str, set[str]] = {}
    for row in (row for each in runs for row in each):
        counts.setdefault(row["ood"], set()).add(row["images"])
    return {row["ood"] if len(counts[row["ood"]]) == 1 else f"{row['ood']}: {row['images']}": row for row in run}


def _means(names: Sequence[str], id_name: str) -> list[tuple[str, list[str]]]:
    """Labels and members of the means: over the paper's sets where all are whole, over near and over far sets."""
    official = list(known.ood) if (known := find_id_set(id_name)) else []
    found = []
    if official and all(name in names for name in official):
        found.append((f"mean ({len(official)})", official))
    groups = {group: [name for name in names if group_of(name, id_name) == group] for group in ("near", "far")}
    if all(groups.values()):
        found += [(f"{group} ({len(members)})", members) for group, members in groups.items()]
    return found


def set_order(name: str) -> tuple[int, int, str]:
    """Sort key of columns: sets as in the OOD table, then others by name, then means."""
    if name.startswith(("mean", "near", "far")):
        return 2, ("mean", "near", "far").index(name.split()[0]), name
    row = base_set(name)
    return (1, 0, name) if row is None else (0, OOD_SETS.index(row), name)


def _spreads(rows: Sequence[Row], columns: Sequence[str]) -> dict[str, Spread]:
    return {name: spread([float(row[name]) for row in rows]) for name in columns if all(row[name] for row in rows)}


def _mean_spreads(runs: Sequence[Sequence[Row]]) -> dict[str, Spread]:
    """The mean over sets is taken in each run; its spread is over the runs."""
    return {name: spread([statistics.mean(float(row[name]) for row in run) for run in runs]) for name in METRICS}


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation (divided by n - 1)."""
    return Spread(statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None)
