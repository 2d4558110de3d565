"""Figures of features: projected to the plane, and prototypes with embeddings on a globe."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke

from utils.evaluation.drawing import ID_COLOR, OOD_COLOR, STYLE, legend_above, panel_grid, panel_title, save_figure

# Tol's colours, which people with colour-blindness can tell apart.
CLASS_COLORS = "#332288 #88CCEE #44AA99 #117733 #DDCC77 #CC6677 #882255 #AA4499 #999933 #666666".split()


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
        figure, panels = panel_grid(len(groups), share=True)
        for (name, rows), axes in zip(groups.items(), panels, strict=False):
            both = np.concatenate([shown, rows])
            colors = np.repeat([ID_COLOR, OOD_COLOR], [len(shown), len(rows)])
            # In a mixed order, neither side hides the other.
            order = np.random.default_rng(0).permutation(len(both))
            axes.scatter(
                *both[order].T, s=_dot_size(len(both)), c=colors[order], alpha=0.6, linewidths=0, rasterized=True
            )
            axes.set(
                title=panel_title(name),
                xticks=[],
                yticks=[],
                xlim=(low[0] - margin[0], high[0] + margin[0]),
                ylim=(low[1] - margin[1], high[1] + margin[1]),
            )
        figure.supxlabel(f"{label} 1", fontsize=9)
        figure.supylabel(f"{label} 2", fontsize=9)
        legend_above(figure, [_dot(ID_COLOR, id_name), _dot(OOD_COLOR, "OOD")])
        save_figure(figure, path)


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
        legend_above(figure, [star, _dot("0.5", "ID test embedding, coloured by class")])
        save_figure(figure, path)


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


def _dot(color: str, label: str) -> Line2D:
    return Line2D([], [], marker="o", linestyle="", color=color, markersize=5, label=label)


def _dot_size(count: int) -> float:
    """Area of a dot in square points, smaller where there are many."""
    return min(14.0, max(4.0, 6000 / count))
