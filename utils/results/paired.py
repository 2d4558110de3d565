"""Paired differences in AUROC between methods, with intervals over seeds and images."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np

from utils.evaluation.bootstrap import bootstrap_metrics, interval
from utils.results.aggregate import means_of
from utils.results.differences import SAME, Difference
from utils.results.rows import Row, from_metrics

RESAMPLES = 500


@dataclass(frozen=True)
class _Run:
    """One score of one evaluation. rows: OOD set as shown -> row.    samples: the same -> AUROC of each resample."""

    rows: Mapping[str, Row]
    samples: Mapping[str, np.ndarray]

    def difference(self, other: "_Run", sets: Sequence[str]) -> tuple[Decimal, np.ndarray]:
        """The mean over some sets of this run minus that of the other: in points, and of each resample."""
        points = statistics.mean(self.rows[name].auroc - other.rows[name].auroc for name in sets)
        return points, 100 * np.mean([self.samples[name] - other.samples[name] for name in sets], axis=0)


def differences(
    evaluations: Sequence[Path], *, against: str = "cider", experiment: str = "", resamples: int = RESAMPLES
) -> list[Difference]:
    """Differences on each OOD set and each mean, over the seeds that both methods have.

    The interval is the middle 95 % of the mean difference in resamples (percentile bootstrap): of the pairs of runs as
    many as there are are drawn with replacement, and so are the ID test images and the images of each OOD set, the same
    ones for all runs. So it covers chance in seeds and in images together; with one seed in images alone. Few seeds
    are too few to tell how far others would lie: with three it is too narrow.

    Args:
        evaluations: their metrics.json, beside which scores.npz is.    experiment: names by which tables find the rows.
    """
    groups: dict[tuple, dict[str, dict[int | None, _Run]]] = {}
    for path in evaluations:
        for run in _runs(path, resamples):
            row = next(iter(run.rows.values()))
            same = groups.setdefault(tuple(getattr(row, name) for name in SAME), {})
            same.setdefault(row.method, {})[row.seed] = run
    return [
        difference
        for facts, methods in groups.items()
        for method, runs in methods.items()
        if method != against
        for difference in _between(
            dict(zip(SAME, facts, strict=True), method=method, against=against, experiment=experiment),
            [(run, methods[against][seed]) for seed, run in runs.items() if seed in methods.get(against, {})],
        )
    ]


def _runs(path: Path, resamples: int) -> list[_Run]:
    by_score: dict[str, dict[str, Row]] = {}
    for row in from_metrics(path):
        by_score.setdefault(row.score, {})[row.ood] = row
    found = []
    with np.load(path.with_name("scores.npz")) as arrays:
        for score, rows in by_score.items():
            prefix = f"{score}/" if f"{score}/id" in arrays else ""  # the first score has none
            drawn = bootstrap_metrics(
                arrays[f"{prefix}id"], {name: arrays[f"{prefix}ood/{name}"] for name in rows}, resamples=resamples
            )
            found.append(_Run(rows, {name: metrics["auroc"] for name, metrics in drawn.items()}))
    return found


def _between(facts: dict, pairs: Sequence[tuple[_Run, _Run]]) -> list[Difference]:
    """A difference for each OOD set that all runs have, and for each mean over whole ones."""
    if not pairs:
        return []
    everywhere = [name for name in pairs[0][0].rows if all(name in run.rows for pair in pairs for run in pair)]
    sets = {name: pairs[0][0].rows[name].set for name in everywhere}
    whole = {name for name, of in sets.items() if name == of}
    found = []
    for ood, members in [*((name, [name]) for name in sets), *means_of(facts["benchmark"], facts["id"], whole)]:
        points, samples = zip(*(run.difference(other, members) for run, other in pairs), strict=True)
        drawn = np.random.default_rng(0).integers(0, len(pairs), (len(pairs), samples[0].size))
        low, high = interval(np.take_along_axis(np.stack(samples), drawn, axis=0).mean(0))
        numbers = dict(auroc=statistics.mean(points), low=Decimal(low), high=Decimal(high))
        rounded = {name: round(value, 2) for name, value in numbers.items()}
        found.append(Difference(**facts, ood=ood, set=sets.get(ood, ""), seeds=len(pairs), **rounded))
    return found
