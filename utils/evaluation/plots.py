"""Figures of the scores of an evaluation, each as PNG and PDF: histograms, ROC curves, metrics over K."""

from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from utils.evaluation.drawing import (
    ID_COLOR,
    OOD_COLOR,
    STYLE,
    legend_above,
    line_color,
    line_style,
    panel_grid,
    panel_title,
    save_figure,
)
from utils.evaluation.metrics import roc_curve


def score_histograms(
    path: Path,
    id_scores: np.ndarray,
    ood_scores: dict[str, np.ndarray],
    threshold: float,
    *,
    label: str,
    subtitles: dict[str, str],
) -> None:
    """Distribution of the score, ID against each OOD set, one panel a set, with the threshold of 95 % ID recall.

    Args:
        path: of the figure, without suffix.    label: of the score axis.    subtitles: a second title line per set.
    """
    line = Line2D([], [], color="black", linestyle="--", linewidth=1, label="95 % of ID to the right")
    # A few far outliers would squeeze all else into one bin.
    low, high = np.quantile(np.concatenate([id_scores, *ood_scores.values()]), [0.002, 1.0])
    with rc_context(STYLE):
        figure, panels = _histograms(id_scores, ood_scores, (low, high), label, subtitles, [line])
        for axes in panels:
            axes.axvline(threshold, color="black", linestyle="--", linewidth=1)
        save_figure(figure, path)


def angle_histograms(
    path: Path, id_angles: np.ndarray, ood_angles: dict[str, np.ndarray], separability: dict[str, float]
) -> None:
    """Degrees to the nearest class mean of ID train, ID against each OOD set, one panel a set.

    Args:
        path: of the figure, without suffix.    separability: of each set, in degrees.
    """
    subtitles = {name: f"separability {angle:.1f}°" for name, angle in separability.items()}
    high = max(map(np.max, (id_angles, *ood_angles.values())))
    with rc_context(STYLE):
        figure, _ = _histograms(
            id_angles, ood_angles, (0, high), "degrees to the nearest class mean of ID train", subtitles, []
        )
        save_figure(figure, path)


def discrepancy_histograms(
    path: Path, id_scores: np.ndarray, ood_scores: dict[str, np.ndarray], num_classes: int, *, subtitles: dict[str, str]
) -> None:
    """Distribution of the L1 distance between the two heads of MCD, ID against each OOD set, one panel a set.

    ID should lie near 0 and OOD near 2 - 2/C, the distance of a flat output from a sure one, where a line stands.

    Args:
        path: of the figure, without suffix.    id_scores, ood_scores: minus the distances, as scores are.
        subtitles: a second title line per set.
    """
    ideal = 2 - 2 / num_classes
    label = f"2 \N{MINUS SIGN} 2/C = {ideal:.2f}, what OOD is trained for"
    line = Line2D([], [], color="black", linestyle=":", linewidth=1, label=label)
    distances = {name: -scores for name, scores in ood_scores.items()}
    with rc_context(STYLE):
        figure, panels = _histograms(
            -id_scores, distances, (0, 2), "L1 distance between the outputs of the two heads", subtitles, [line]
        )
        for axes in panels:
            axes.axvline(ideal, color="black", linestyle=":", linewidth=1)
        save_figure(figure, path)


def metrics_over_k(path: Path, sweep: dict[int, dict[str, dict[str, float]]], used: int) -> None:
    """FPR95 and AUROC of the KNN score against K, a curve per OOD set.

    Args:
        path: of the figure, without suffix.
        sweep: K -> OOD set -> metrics as fractions.
        used: the K of the main table.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(7, 2.9))
        for axes, metric, label in zip(figure.subplots(1, 2), ("fpr95", "auroc"), ("FPR95", "AUROC"), strict=True):
            for i, name in enumerate(next(iter(sweep.values()))):
                values = [100 * found[name][metric] for found in sweep.values()]
                axes.plot(list(sweep), values, line_style(i), color=line_color(i), marker="o", markersize=3, label=name)
            axes.axvline(used, color="0.6", linewidth=0.8, linestyle=":")
            axes.set(xscale="log", xlabel=f"K (dotted: {used})", ylabel=f"{label}, %")
            axes.set_xticks(list(sweep), list(map(str, sweep)), minor=False)
            axes.minorticks_off()
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3)
        save_figure(figure, path)


def roc_curves(path: Path, id_scores: np.ndarray, ood_scores: dict[str, np.ndarray], aurocs: dict[str, float]) -> None:
    """ROC curves with ID positive, one per OOD set, and the line of 95 % ID recall; aurocs are fractions."""
    with rc_context(STYLE | {"figure.constrained_layout.use": False}):
        figure = Figure(figsize=(3.5, 3.4))
        axes = figure.add_subplot()
        for i, (name, scores) in enumerate(ood_scores.items()):
            accepted_ood, accepted_id = roc_curve(id_scores, scores)
            axes.plot(
                100 * accepted_ood,
                100 * accepted_id,
                line_style(i),
                color=line_color(i),
                linewidth=1.5,
                label=f"{name} ({100 * aurocs[name]:.2f})",
            )
        axes.axhline(95, color="0.6", linewidth=0.8, linestyle=":")
        axes.plot([0, 100], [0, 100], color="0.85", linewidth=0.8, zorder=0)
        axes.set(
            xlim=(-1, 100),
            ylim=(0, 101),
            yticks=(0, 20, 40, 60, 80, 95),
            box_aspect=1,
            xlabel="OOD accepted (false positives), %",
            ylabel="ID accepted (true positives), %",
        )
        # Beside the axes, where it hides no curve; the saved figure is as wide as the legend needs.
        axes.legend(title="OOD set (AUROC, %)", loc="center left", bbox_to_anchor=(1.03, 0.5), alignment="left")
        save_figure(figure, path)


def _histograms(
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
    figure, panels = panel_grid(len(ood_values), share=True)
    for (name, others), axes in zip(ood_values.items(), panels, strict=True):
        for values, color in ((id_values, ID_COLOR), (others, OOD_COLOR)):
            weights = np.full(len(values), 100 / len(values))
            clipped = np.clip(values, low, high)
            axes.hist(clipped, bins, weights=weights, color=color, alpha=0.35)
            axes.hist(clipped, bins, weights=weights, color=color, histtype="step", linewidth=1)
        axes.set_title(f"{panel_title(name)}\n{subtitles[name]}")
        axes.margins(x=0)
    figure.supxlabel(label, fontsize=9)
    figure.supylabel("% of images", fontsize=9)
    sides = [
        Line2D([], [], color=color, linewidth=5, alpha=0.6, label=name)
        for color, name in ((ID_COLOR, "ID test"), (OOD_COLOR, "OOD"))
    ]
    legend_above(figure, sides + handles)
    return figure, panels
