"""Paired differences in AUROC between objectives and CIDER, with intervals over seeds and images."""

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np

from utils.errors import UserError
from utils.evaluation.bootstrap import bootstrap_metrics, interval
from utils.results.aggregate import by_columns, means_of
from utils.results.differences import SAME, Difference
from utils.results.rows import Row, from_metrics

RESAMPLES = 500
# One score of one evaluation: OOD set as shown -> its row, and its AUROC in points in each resample of the images.
_Run = Mapping[str, tuple[Row, np.ndarray]]


def paired_differences(
    evaluations: Sequence[Path], experiment: str = "", resamples: int = RESAMPLES
) -> list[Difference]:
    """Differences on each OOD set and each mean, over the seeds that a method and CIDER both have.

    The interval is the middle 95 % of the mean difference in resamples (percentile bootstrap): of the pairs of runs as
    many as there are are drawn with replacement, and so are the ID test images and the images of each OOD set, the same
    ones for all runs. So it covers chance in seeds and in images together; with one seed in images alone. Few seeds
    are too few to tell how far others would lie: with three it is too narrow.

    Args:
        evaluations: their metrics.json, beside which scores.npz is.    experiment: names by which tables find the rows.
    """
    runs: dict[tuple, dict[int | None, _Run]] = defaultdict(dict)
    for path in evaluations:
        rows = by_columns(from_metrics(path), [*SAME, "method", "seed"])
        with _scores_beside(path) as arrays:
            for (*same, method, seed), its in rows.items():
                prefix = f"{its[0].score}/" if f"{its[0].score}/id" in arrays else ""  # the first score has none
                oods = {row.ood: arrays[f"{prefix}ood/{row.ood}"] for row in its}
                drawn = bootstrap_metrics(arrays[f"{prefix}id"], oods, resamples=resamples)
                runs[*same, method][seed] = {row.ood: (row, 100 * drawn[row.ood]["auroc"]) for row in its}
    found = []
    for (*same, method), of_method in runs.items():
        ciders = runs.get((*same, "cider"), {})
        pairs = [(run, ciders[seed]) for seed, run in of_method.items() if seed in ciders]
        if pairs and method != "cider":
            facts = dict(zip(SAME, same, strict=True), method=method, experiment=experiment, runs=len(pairs))
            found += [Difference(**facts, **numbers) for numbers in _between(pairs, facts["benchmark"], facts["id"])]
    return found


def _scores_beside(metrics: Path) -> np.lib.npyio.NpzFile:
    place = metrics.with_name("scores.npz")
    try:
        return np.load(place)
    except OSError as error:
        raise UserError(
            f"{place} can not be read: {error.strerror or error}\n"
            f"  do         : delete {metrics}, and give the same command again, which evaluates anew"
        ) from error


def _between(pairs: Sequence[tuple[_Run, _Run]], benchmark: str, id_name: str) -> list[dict[str, str | Decimal]]:
    """The numbers for each OOD set that all runs have, and for each mean over whole ones."""
    sets = [name for name in pairs[0][0] if all(name in run for pair in pairs for run in pair)]
    whole = {name for name in sets if pairs[0][0][name][0].set == name}
    found = []
    for ood, members in [*((name, [name]) for name in sets), *means_of(benchmark, id_name, whole)]:
        mean = statistics.mean(run[name][0].auroc - cider[name][0].auroc for run, cider in pairs for name in members)
        samples = np.stack(
            [np.mean([run[name][1] - cider[name][1] for name in members], axis=0) for run, cider in pairs]
        )
        drawn = np.random.default_rng(0).integers(0, len(pairs), samples.shape)
        low, high = interval(np.take_along_axis(samples, drawn, axis=0).mean(0))
        numbers = {"auroc": mean, "low": Decimal(low), "high": Decimal(high)}
        found.append({"ood": ood, **{name: round(value, 2) for name, value in numbers.items()}})
    return found
