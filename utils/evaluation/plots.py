"""Figures of an evaluation, each as PNG and PDF: histograms, ROC curves, features in the plane, prototypes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke

from utils.evaluation.metrics import roc_curve
from utils.files import atomic_write

# Colours that people with colour-blindness can tell apart: Okabe and Ito's, and Tol's for classes.
BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"
ID_COLOR, OOD_COLOR = BLUE, ORANGE
CLASS_COLORS = "#332288 #88CCEE #44AA99 #117733 #DDCC77 #CC6677 #882255 #AA4499 #999933 #666666".split()
STYLE = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "pdf.fonttype": 42,
}
PANEL_INCHES = 2.3
MAX_COLUMNS = 4


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
        _save(figure, path)


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
        _save(figure, path)


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
                axes.plot(
                    list(sweep), values, _line_style(i), color=_line_color(i), marker="o", markersize=3, label=name
                )
            axes.axvline(used, color="0.6", linewidth=0.8, linestyle=":")
            axes.set(xscale="log", xlabel=f"K (dotted: {used})", ylabel=f"{label}, %")
            axes.set_xticks(list(sweep), list(map(str, sweep)), minor=False)
            axes.minorticks_off()
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3)
        _save(figure, path)


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
                _line_style(i),
                color=_line_color(i),
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
        _save(figure, path)


def feature_projection(path: Path, points: dict[str, np.ndarray], id_name: str, *, label: str) -> None:
    """Projected features (N, 2), one panel per OOD set over the same ID points.

    Args:
        points: name -> (N, 2), among them `id_name`.    label: what the axes are, as in "principal component".
    """
    shown = points[id_name]
    groups = {name: rows for name, rows in points.items() if name != id_name}
    every = np.concatenate(list(points.values()))
    low, high = every.min(0), every.max(0)
    margin = 0.04 * (high - low)
    with rc_context(STYLE):
        figure, panels = _panels(len(groups), share=True)
        for (name, rows), axes in zip(groups.items(), panels, strict=False):
            both = np.concatenate([shown, rows])
            colors = np.repeat([ID_COLOR, OOD_COLOR], [len(shown), len(rows)])
            # In a mixed order, neither side hides the other.
            order = np.random.default_rng(0).permutation(len(both))
            axes.scatter(
                *both[order].T, s=_dot_size(len(both)), c=colors[order], alpha=0.6, linewidths=0, rasterized=True
            )
            axes.set(
                title=name,
                xticks=[],
                yticks=[],
                xlim=(low[0] - margin[0], high[0] + margin[0]),
                ylim=(low[1] - margin[1], high[1] + margin[1]),
            )
        figure.supxlabel(f"{label} 1", fontsize=9)
        figure.supylabel(f"{label} 2", fontsize=9)
        _legend(figure, [_dot(ID_COLOR, id_name), _dot(OOD_COLOR, "OOD")])
        _save(figure, path)


def prototypes_on_sphere(
    path: Path, prototypes: np.ndarray, embeddings: np.ndarray, labels: np.ndarray, class_names: Sequence[str]
) -> None:
    """Directions of prototypes (C, 3) and ID embeddings (N, 3), both unit rows, as the two halves of a globe.

    Classes have their colours; prototypes are stars, with their names where at most 20 fit. Of 3 dimensions shown
    from many, the picture has the angles only roughly.
    """
    colors = _class_colors(len(prototypes))
    with rc_context(STYLE):
        figure = Figure(figsize=(7, 3.7))
        for axes, side, title in zip(figure.subplots(1, 2), (1, -1), ("front", "back"), strict=True):
            _globe(axes)
            axes.set_title(f"{title} half")
            # Seen from its own side, a half has its x axis reversed on the back.
            near = side * embeddings[:, 2] >= 0
            axes.scatter(
                side * embeddings[near, 0],
                embeddings[near, 1],
                s=_dot_size(len(embeddings)),
                c=colors[labels[near]],
                alpha=0.6,
                linewidths=0,
                rasterized=True,
            )
            half = np.flatnonzero(side * prototypes[:, 2] >= 0)
            stars = prototypes[half, :2] * (side, 1)
            axes.scatter(*stars.T, marker="*", s=150, c=colors[half], edgecolors="black", linewidths=0.8)
            if len(prototypes) <= 20:
                _name_stars(axes, stars, [class_names[index] for index in half])
        star = Line2D(
            [],
            [],
            marker="*",
            color="none",
            markerfacecolor="0.8",
            markeredgecolor="black",
            markersize=11,
            label="prototype",
        )
        _legend(figure, [star, _dot("0.5", "ID test embedding, coloured by class")])
        _save(figure, path)


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
    figure, panels = _panels(len(ood_values), share=True)
    for (name, others), axes in zip(ood_values.items(), panels, strict=True):
        for values, color in ((id_values, ID_COLOR), (others, OOD_COLOR)):
            weights = np.full(len(values), 100 / len(values))
            clipped = np.clip(values, low, high)
            axes.hist(clipped, bins, weights=weights, color=color, alpha=0.35)
            axes.hist(clipped, bins, weights=weights, color=color, histtype="step", linewidth=1)
        axes.set_title(f"{name}\n{subtitles[name]}")
        axes.margins(x=0)
    figure.supxlabel(label, fontsize=9)
    figure.supylabel("% of images", fontsize=9)
    sides = [
        Line2D([], [], color=color, linewidth=5, alpha=0.6, label=name)
        for color, name in ((ID_COLOR, "ID test"), (OOD_COLOR, "OOD"))
    ]
    _legend(figure, sides + handles)
    return figure, panels


def _line_color(index: int) -> str:
    return (BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER, "black")[index % 7]


def _line_style(index: int) -> str:
    return ("-", "--", "-.", ":")[index // 7 % 4]


def _panels(count: int, *, share: bool) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels in rows as even as can be; unused places stay empty."""
    rows = -(-count // MAX_COLUMNS)
    columns = -(-count // rows)
    figure = Figure(figsize=(max(4.8, columns * PANEL_INCHES), rows * 2.05 + 0.7))
    grid = figure.subplots(rows, columns, squeeze=False, sharex=share, sharey=share).ravel()
    for axes in grid[count:]:
        axes.set_visible(False)
    return figure, list(grid[:count])


def _legend(figure: Figure, handles: list[Line2D]) -> None:
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))


def _dot(color: str, label: str) -> Line2D:
    return Line2D([], [], marker="o", linestyle="", color=color, markersize=5, label=label)


def _dot_size(count: int) -> float:
    """Area of a dot in square points, smaller where there are many."""
    return min(14.0, max(4.0, 6000 / count))


def _globe(axes: Axes) -> None:
    axes.add_patch(Circle((0, 0), 1, fill=False, color="0.6", linewidth=0.8))
    turn = np.linspace(-np.pi / 2, np.pi / 2, 100)
    for angle in np.deg2rad([-60, -30, 0, 30, 60]):
        axes.plot(np.sin(angle) * np.cos(turn), np.sin(turn), color="0.9", linewidth=0.6, zorder=0)
        axes.plot(np.cos(angle) * np.sin(turn), np.full(100, np.sin(angle)), color="0.9", linewidth=0.6, zorder=0)
    axes.set(aspect="equal", xlim=(-1.15, 1.15), ylim=(-1.15, 1.15))
    axes.axis("off")


def _name_stars(axes: Axes, stars: np.ndarray, names: Sequence[str]) -> None:
    for i, (star, name) in enumerate(zip(stars, names, strict=True)):
        # Of two stars close together one has its name above, the other below.
        distance = np.linalg.norm(stars - star, axis=1)
        distance[i] = np.inf
        near = distance.argmin()
        below = distance[near] < 0.35 and (star[1], i) < (stars[near][1], near)
        axes.annotate(
            name,
            star,
            xytext=(0, -8 if below else 8),
            textcoords="offset points",
            ha="center",
            va="top" if below else "bottom",
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )


def _class_colors(count: int) -> np.ndarray:
    """(C, 3) colours: ten to tell apart, and a range of hues for more classes."""
    if count <= len(CLASS_COLORS):
        return np.array([to_rgb(color) for color in CLASS_COLORS[:count]])
    return colormaps["turbo"](np.linspace(0.03, 0.97, count))[:, :3]


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    for suffix, metadata in (("png", {"Software": None}), ("pdf", {"CreationDate": None})):
        with atomic_write(path.with_name(f"{path.name}.{suffix}")) as stream:
            figure.savefig(stream, format=suffix, dpi=200, metadata=metadata, bbox_inches="tight")
    figure.clear()
