"""Figures of the scores of an evaluation: histograms, ROC curves, near and far sets, metrics over K."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.lines import Line2D

from utils.evaluation.bootstrap import interval
from utils.evaluation.drawing import ID_COLOR, OOD_COLOR, Album, curve_style, drawable
from utils.evaluation.evaluation import ID_TEST, ScoreResult
from utils.evaluation.metrics import roc_curve
from utils.evaluation.names import ORIENTATION
from utils.evaluation.tables import Row

SHOWN = 0.995  # central share of the values that an axis spans; a few far ones would squeeze all else into one bin


def score_histograms(album: Album, result: ScoreResult) -> Path:
    """Distribution of a score, ID against each OOD set, one panel a set, with the threshold of 95 % ID recall.

    Of the KNN score, a squared distance, the axis shows the distances, where ID does not pile up.
    """
    distance = result.name == "knn"

    def on_axis(scores: np.ndarray | float) -> np.ndarray | float:
        return np.sqrt(np.maximum(-scores, 0)) if distance else scores

    values = {name: on_axis(scores) for name, scores in _all_scores(result).items()}
    limits = np.quantile(np.concatenate(list(values.values())), [(1 - SHOWN) / 2, (1 + SHOWN) / 2])
    line = (on_axis(result.threshold), "--", f"95 % of ID to the {'left' if distance else 'right'}")
    nearest = ": distance to the K-th nearest ID training image, smaller = more ID"
    label = result.shown + (nearest if distance else f" score, {ORIENTATION}")
    return _histograms(album, "histograms", values, tuple(limits), label, _subtitles(result), line)


def angle_histograms(album: Album, angles: dict[str, np.ndarray], separability: dict[str, float]) -> Path:
    """Degrees to the nearest class mean of ID train, ID_TEST against each OOD set, one panel a set.

    Args:
        separability: of each set, in degrees.
    """
    subtitles = {name: f"separability {angle:.1f}°" for name, angle in separability.items()}
    limits = 0, max(map(np.max, angles.values()))
    label = "degrees to the nearest class mean of ID train"
    return _histograms(album, "angles", angles, limits, label, subtitles)


def discrepancy_histograms(album: Album, result: ScoreResult, num_classes: int) -> Path:
    """Distribution of the L1 distance between the two heads of MCD, ID against each OOD set, one panel a set.

    ID should lie near 0 and OOD near 2 - 2/C, the distance of a flat output from a sure one, where a line stands.
    """
    ideal = 2 - 2 / num_classes
    line = (ideal, ":", f"2 \N{MINUS SIGN} 2/C = {ideal:.2f}, what OOD is trained for")
    distances = {name: -scores for name, scores in _all_scores(result).items()}
    label = "L1 distance between the outputs of the two heads"
    return _histograms(album, "discrepancy", distances, (0, 2), label, _subtitles(result), line)


def _all_scores(result: ScoreResult) -> dict[str, np.ndarray]:
    return {ID_TEST: result.id_scores, **result.ood_scores}


def _subtitles(result: ScoreResult) -> dict[str, str]:
    return {
        name: f"FPR95 {100 * found['fpr95']:.1f}  AUROC {100 * found['auroc']:.1f}"
        for name, found in result.ood_metrics.items()
    }


def _histograms(
    album: Album,
    name: str,
    values: dict[str, np.ndarray],
    limits: tuple[float, float],
    label: str,
    subtitles: dict[str, str],
    line: tuple[float, str, str] | None = None,
) -> Path:
    """ID_TEST against each OOD set, one panel a set; values beyond the limits are counted at the limit.

    Args:
        line: where a vertical line stands in each panel, its dashes, and what it is.
    """
    low, high = limits
    others = {set_name: rows for set_name, rows in values.items() if set_name != ID_TEST}
    bins = np.linspace(low, max(high, low + 1e-9), 61)
    handles = [
        Line2D([], [], color=color, linewidth=5, alpha=0.6, label=side)
        for color, side in ((ID_COLOR, "ID test"), (OOD_COLOR, "OOD"))
    ]
    with rc_context(album.rc):
        figure, panels = album.panels(len(others), label, "% of images")
        for (set_name, of_ood), axes in zip(others.items(), panels, strict=True):
            for rows, color in ((values[ID_TEST], ID_COLOR), (of_ood, OOD_COLOR)):
                weights = np.full(len(rows), 100 / len(rows))
                clipped = np.clip(rows, low, high)
                axes.hist(clipped, bins, weights=weights, color=color, alpha=0.35)
                axes.hist(clipped, bins, weights=weights, color=color, histtype="step", linewidth=1)
            axes.set_title(album.title(set_name, subtitles[set_name]))
            axes.margins(x=0)
            if line:
                axes.axvline(line[0], color="black", linestyle=line[1], linewidth=1)
        if line:
            handles.append(Line2D([], [], color="black", linestyle=line[1], linewidth=1, label=line[2]))
        columns = 1 if line and album.style == "paper" else len(handles)
        figure.legend(handles=handles, loc="outside upper center", ncols=columns)
        return album.save(figure, name)


def metrics_over_k(album: Album, sweep: dict[int, dict[str, dict[str, float]]], used: int) -> Path:
    """FPR95 and AUROC of the KNN score against K, a curve per OOD set.

    Args:
        sweep: K -> OOD set -> metrics as fractions.    used: the K of the main table.
    """
    names = list(next(iter(sweep.values())))
    with rc_context(album.rc):
        figure = album.figure(7, 2.9)
        for axes, metric in zip(figure.subplots(1, 2), ("fpr95", "auroc"), strict=True):
            for i, name in enumerate(names):
                values = [100 * found[name][metric] for found in sweep.values()]
                look = curve_style(i, len(names))
                axes.plot(list(sweep), values, label=drawable(name), marker="o", markersize=3, **look)
            axes.axvline(used, color="0.6", linewidth=0.8, linestyle=":")
            axes.set(xscale="log", xlabel=f"K (dotted: {used})", ylabel=f"{metric.upper()}, %")
            axes.set_xticks(list(sweep), list(map(str, sweep)), minor=False)
            axes.minorticks_off()
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3)
        return album.save(figure, "k_sweep")


def roc_curves(album: Album, result: ScoreResult) -> Path:
    """ROC curves with ID positive, one per OOD set, and the line of 95 % ID recall.

    The axis of false positives is logarithmic: what matters happens below 10 %.
    """
    paper = album.style == "paper"
    least = 100 / max(map(len, result.ood_scores.values()))
    with rc_context(album.rc | {"figure.constrained_layout.use": False}):
        figure = album.figure(3.5, 3.4)
        axes = figure.add_subplot()
        for i, (name, scores) in enumerate(result.ood_scores.items()):
            accepted_ood, accepted_id = roc_curve(result.id_scores, scores)
            label = drawable(name) + ("" if paper else f" ({100 * result.ood_metrics[name]['auroc']:.2f})")
            x = np.maximum(100 * accepted_ood, least)
            axes.plot(x, 100 * accepted_id, label=label, **curve_style(i, len(result.ood_scores)))
        chance = np.geomspace(least, 100)
        axes.axhline(95, color="0.6", linewidth=0.8, linestyle=":")
        axes.plot(chance, chance, color="0.85", linewidth=0.8, zorder=0)
        axes.set(
            xscale="log",
            xlim=(least, 100),
            ylim=(0, 101),
            yticks=(0, 20, 40, 60, 80, 95),
            box_aspect=1,
            xlabel="OOD accepted (false positives), %",
            ylabel="ID accepted (true positives), %",
        )
        axes.xaxis.set_major_formatter("{x:g}")
        # Beside the axes, where it hides no curve; the saved figure is as wide as the legend needs.
        title = "OOD set" if paper else "OOD set (AUROC, %)"
        axes.legend(title=title, loc="center left", bbox_to_anchor=(1.03, 0.5), alignment="left")
        return album.save(figure, "roc")


def near_and_far(album: Album, rows: Sequence[Row]) -> Path:
    """FPR95 and AUROC of each OOD set, near sets above far ones, with a line at the mean of each group's whole sets."""
    ordered = sorted((row for row in rows if row.group in ("near", "far")), key=lambda row: row.group, reverse=True)
    with rc_context(album.rc):
        figure = album.figure(6.6, 1.2 + 0.28 * len(ordered))
        for axes, metric in zip(figure.subplots(1, 2, sharey=True), ("fpr95", "auroc"), strict=True):
            for color, group in ((OOD_COLOR, "near"), (ID_COLOR, "far")):
                places = [place for place, row in enumerate(ordered) if row.group == group]
                members = [ordered[place] for place in places]
                values = np.array([100 * row.metrics[metric] for row in members])
                error = None
                if all(row.samples for row in members):
                    low, high = 100 * np.array([interval(row.samples[metric]) for row in members]).reshape(-1, 2).T
                    error = np.maximum([values - low, high - values], 0)
                axes.errorbar(values, places, xerr=error, fmt="o", color=color, ms=4)
                if whole := [100 * row.metrics[metric] for row in members if row.official]:
                    ends = places[0] - 0.4, places[-1] + 0.4
                    axes.vlines(np.mean(whole), *ends, color=color, linewidth=1, linestyle="--")
            axes.set_xlabel(f"{metric.upper()}, %")
            axes.grid(axis="x", color="0.92")
            axes.set_yticks(range(len(ordered)), [f"{drawable(row.name)}  [{row.group}]" for row in ordered])
        axes.invert_yaxis()
        return album.save(figure, "near_far")
