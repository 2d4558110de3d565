"""Figures of the scores of an evaluation: histograms, ROC curves, near and far sets, metrics over K."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from utils.evaluation.drawing import (
    ID_COLOR,
    OOD_COLOR,
    Album,
    drawable,
    legend_above,
    line_color,
    line_style,
    line_width,
)
from utils.evaluation.metrics import roc_curve

SHOWN = 0.995  # central share of the values that an axis spans; a few far ones would squeeze all else into one bin


def score_histograms(
    album: Album,
    id_scores: np.ndarray,
    ood_scores: dict[str, np.ndarray],
    threshold: float,
    *,
    label: str,
    subtitles: dict[str, str],
    distance: bool = False,
) -> Path:
    """Distribution of a score, ID against each OOD set, one panel a set, with the threshold of 95 % ID recall.

    Args:
        label: of the score axis.    subtitles: a second title line per set.
        distance: the scores are minus squared distances; the axis shows the distances, where ID does not pile up.
    """
    if distance:
        id_scores, threshold = _root(id_scores), float(_root(np.array(threshold)))
        ood_scores = {name: _root(scores) for name, scores in ood_scores.items()}
    side = "left" if distance else "right"
    line = Line2D([], [], color="black", linestyle="--", linewidth=1, label=f"95 % of ID to the {side}")
    limits = np.quantile(np.concatenate([id_scores, *ood_scores.values()]), [(1 - SHOWN) / 2, (1 + SHOWN) / 2])
    with rc_context(album.rc):
        figure, panels = _histograms(album, id_scores, ood_scores, tuple(limits), label, subtitles, [line])
        for axes in panels:
            axes.axvline(threshold, color="black", linestyle="--", linewidth=1)
        return album.save(figure, "histograms")


def _root(scores: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(-scores, 0))


def angle_histograms(
    album: Album, id_angles: np.ndarray, ood_angles: dict[str, np.ndarray], separability: dict[str, float]
) -> Path:
    """Degrees to the nearest class mean of ID train, ID against each OOD set, one panel a set.

    Args:
        separability: of each set, in degrees.
    """
    subtitles = {name: f"separability {angle:.1f}°" for name, angle in separability.items()}
    high = max(map(np.max, (id_angles, *ood_angles.values())))
    label = "degrees to the nearest class mean of ID train"
    with rc_context(album.rc):
        figure, _ = _histograms(album, id_angles, ood_angles, (0, high), label, subtitles, [])
        return album.save(figure, "angles")


def discrepancy_histograms(
    album: Album,
    id_scores: np.ndarray,
    ood_scores: dict[str, np.ndarray],
    num_classes: int,
    *,
    subtitles: dict[str, str],
) -> Path:
    """Distribution of the L1 distance between the two heads of MCD, ID against each OOD set, one panel a set.

    ID should lie near 0 and OOD near 2 - 2/C, the distance of a flat output from a sure one, where a line stands.

    Args:
        id_scores, ood_scores: minus the distances, as scores are.    subtitles: a second title line per set.
    """
    ideal = 2 - 2 / num_classes
    label = f"2 \N{MINUS SIGN} 2/C = {ideal:.2f}, what OOD is trained for"
    line = Line2D([], [], color="black", linestyle=":", linewidth=1, label=label)
    distances = {name: -scores for name, scores in ood_scores.items()}
    axis = "L1 distance between the outputs of the two heads"
    with rc_context(album.rc):
        figure, panels = _histograms(album, -id_scores, distances, (0, 2), axis, subtitles, [line])
        for axes in panels:
            axes.axvline(ideal, color="black", linestyle=":", linewidth=1)
        return album.save(figure, "discrepancy")


def metrics_over_k(album: Album, sweep: dict[int, dict[str, dict[str, float]]], used: int) -> Path:
    """FPR95 and AUROC of the KNN score against K, a curve per OOD set.

    Args:
        sweep: K -> OOD set -> metrics as fractions.    used: the K of the main table.
    """
    names = list(next(iter(sweep.values())))
    with rc_context(album.rc):
        figure = album.figure(7, 2.9)
        for axes, metric, label in zip(figure.subplots(1, 2), ("fpr95", "auroc"), ("FPR95", "AUROC"), strict=True):
            for i, name in enumerate(names):
                values = [100 * found[name][metric] for found in sweep.values()]
                look = dict(color=line_color(i), linewidth=line_width(i, len(names)), marker="o", markersize=3)
                axes.plot(list(sweep), values, line_style(i), label=drawable(name), **look)
            axes.axvline(used, color="0.6", linewidth=0.8, linestyle=":")
            axes.set(xscale="log", xlabel=f"K (dotted: {used})", ylabel=f"{label}, %")
            axes.set_xticks(list(sweep), list(map(str, sweep)), minor=False)
            axes.minorticks_off()
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3)
        return album.save(figure, "k_sweep")


def roc_curves(
    album: Album, id_scores: np.ndarray, ood_scores: dict[str, np.ndarray], aurocs: dict[str, float]
) -> Path:
    """ROC curves with ID positive, one per OOD set, and the line of 95 % ID recall; aurocs are fractions.

    The axis of false positives is logarithmic: what matters happens below 10 %.
    """
    least = 100 / max(1, *map(len, ood_scores.values()))
    with rc_context(album.rc | {"figure.constrained_layout.use": False}):
        figure = album.figure(3.5, 3.4)
        axes = figure.add_subplot()
        for i, (name, scores) in enumerate(ood_scores.items()):
            accepted_ood, accepted_id = roc_curve(id_scores, scores)
            look = dict(color=line_color(i), linewidth=line_width(i, len(ood_scores)))
            numbers = "" if album.style == "paper" else f" ({100 * aurocs[name]:.2f})"
            x = np.maximum(100 * accepted_ood, least)
            axes.plot(x, 100 * accepted_id, line_style(i), label=drawable(name) + numbers, **look)
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
        title = "OOD set" if album.style == "paper" else "OOD set (AUROC, %)"
        axes.legend(title=title, loc="center left", bbox_to_anchor=(1.03, 0.5), alignment="left")
        return album.save(figure, "roc")


@dataclass(frozen=True)
class SetResult:
    """A dot of `near_and_far`: metrics as fractions, and where there was a bootstrap their intervals (low, high).

    whole: it is a whole set of the benchmark, and enters its group's mean.
    """

    name: str
    group: str
    whole: bool
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]] | None = None


def near_and_far(album: Album, results: Sequence[SetResult]) -> Path:
    """FPR95 and AUROC of each OOD set, near sets above far ones, with a line at the mean of each group's whole sets."""
    groups = [group for group in ("near", "far") if any(result.group == group for result in results)]
    ordered = [result for group in groups for result in results if result.group == group]
    with rc_context(album.rc):
        figure = album.figure(6.6, 1.2 + 0.28 * len(ordered))
        for axes, metric in zip(figure.subplots(1, 2, sharey=True), ("fpr95", "auroc"), strict=True):
            for color, group in zip((OOD_COLOR, ID_COLOR), groups, strict=False):
                rows = [row for row, result in enumerate(ordered) if result.group == group]
                values = np.array([100 * ordered[row].metrics[metric] for row in rows])
                axes.errorbar(values, rows, xerr=_error(ordered, rows, metric, values), fmt="o", color=color, ms=4)
                if whole := [100 * ordered[row].metrics[metric] for row in rows if ordered[row].whole]:
                    axes.vlines(np.mean(whole), rows[0] - 0.4, rows[-1] + 0.4, color=color, linewidth=1, linestyle="--")
            axes.set_xlabel(f"{metric.upper()}, %")
            axes.grid(axis="x", color="0.92")
            axes.set_yticks(range(len(ordered)), [f"{drawable(each.name)}  [{each.group}]" for each in ordered])
        axes.invert_yaxis()
        return album.save(figure, "near_far")


def _error(ordered: Sequence[SetResult], rows: list[int], metric: str, values: np.ndarray) -> np.ndarray | None:
    if any(ordered[row].intervals is None for row in rows):
        return None
    ends = 100 * np.array([ordered[row].intervals[metric] for row in rows]).T
    return np.maximum(np.stack([values - ends[0], ends[1] - values]), 0)


def _histograms(
    album: Album,
    id_values: np.ndarray,
    ood_values: dict[str, np.ndarray],
    limits: tuple[float, float],
    label: str,
    subtitles: dict[str, str],
    handles: list[Line2D],
) -> tuple[Figure, list[Axes]]:
    """ID against each OOD set, one panel a set; values beyond the limits are counted at the limit."""
    low, high = limits
    bins = np.linspace(low, max(high, low + 1e-9), 61)
    figure, panels = album.panels(len(ood_values), share=True)
    for (name, others), axes in zip(ood_values.items(), panels, strict=True):
        for values, color in ((id_values, ID_COLOR), (others, OOD_COLOR)):
            weights = np.full(len(values), 100 / len(values))
            clipped = np.clip(values, low, high)
            axes.hist(clipped, bins, weights=weights, color=color, alpha=0.35)
            axes.hist(clipped, bins, weights=weights, color=color, histtype="step", linewidth=1)
        axes.set_title(album.title(name, subtitles[name]))
        axes.margins(x=0)
    figure.supxlabel(label, fontsize=album.rc["font.size"])
    figure.supylabel("% of images", fontsize=album.rc["font.size"])
    sides = [
        Line2D([], [], color=color, linewidth=5, alpha=0.6, label=name)
        for color, name in ((ID_COLOR, "ID test"), (OOD_COLOR, "OOD"))
    ]
    legend_above(figure, sides + handles, columns=1 if album.style == "paper" and handles else None)
    return figure, panels
