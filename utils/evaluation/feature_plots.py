"""Figures of features: projected to the plane, and the angles between prototypes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D

from utils.evaluation.drawing import OOD_GREY, Album, drawable
from utils.evaluation.evaluation import ID_TEST

# Tol's colours, which people with colour-blindness can tell apart.
CLASS_COLORS = "#332288 #88CCEE #44AA99 #117733 #DDCC77 #CC6677 #882255 #AA4499 #999933 #666666".split()
NAMED_CLASSES = 20  # names of more would be too small to read
ANGLES_IN_CELLS = 12


def feature_projection(
    album: Album,
    points: dict[str, np.ndarray],
    labels: np.ndarray,
    *,
    name: str,
    axis_labels: Sequence[str],
    class_names: Sequence[str],
) -> Path:
    """Projected features (N, 2), one panel per OOD set: OOD in grey behind the same ID points, coloured by class.

    Args:
        points: ID_TEST and each OOD set -> (N, 2).    labels: (N,) classes of the ID points.
        name: of the figure's file.    axis_labels: of both axes.
    """
    shown = points[ID_TEST]
    groups = {group: rows for group, rows in points.items() if group != ID_TEST}
    every = np.concatenate(list(points.values()))
    low, high = every.min(0), every.max(0)
    margin = 0.04 * (high - low)
    colors = class_colors(len(class_names))
    with rc_context(album.rc):
        figure, panels = album.panels(len(groups), *axis_labels)
        for (group, rows), axes in zip(groups.items(), panels, strict=True):
            look = {"s": min(14.0, max(3.0, 6000 / (len(rows) + len(shown)))), "linewidths": 0, "rasterized": True}
            axes.scatter(*rows.T, c=OOD_GREY, alpha=0.6, **look)
            axes.scatter(*shown.T, c=colors[labels], alpha=0.7, **look)
            (left, bottom), (right, top) = low - margin, high + margin
            axes.set(title=album.title(group), xticks=[], yticks=[], xlim=(left, right), ylim=(bottom, top))
        if len(class_names) <= len(CLASS_COLORS):
            handles = [_dot(color, drawable(each)) for color, each in zip(colors, class_names, strict=True)]
        else:
            handles = [_dot("C0", f"{ID_TEST}, coloured by class")]
        handles.append(_dot(OOD_GREY, "OOD"))
        columns = 3
        if album.style == "screen":
            columns = len(handles) if len(handles) < 9 else 6
        figure.legend(handles=handles, loc="outside upper center", ncols=columns)
        return album.save(figure, name)


def prototype_angles(album: Album, prototypes: np.ndarray, class_names: Sequence[str]) -> Path:
    """Degrees between the prototypes (C, D) of every two classes; dispersion drives them to arccos(-1 / (C - 1)).

    Classes have their names where at most 20 fit, and each cell its number where at most 12 do.
    """
    unit = prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True)
    degrees = np.degrees(np.arccos(np.clip(unit @ unit.T, -1, 1)))
    count = len(degrees)
    np.fill_diagonal(degrees, 0)
    with rc_context(album.rc):
        figure = album.figure(*((4.6, 4.0) if count <= NAMED_CLASSES else (5.2, 4.6)))
        axes = figure.add_subplot()
        image = axes.imshow(degrees, cmap="viridis", vmin=0, vmax=max(120, degrees.max()))
        if count <= ANGLES_IN_CELLS:
            look = {"ha": "center", "va": "center", "size": 0.6 * album.rc["font.size"] + 0.6}
            for (row, column), angle in np.ndenumerate(degrees):
                axes.text(column, row, f"{angle:.0f}", color="white" if angle < 75 else "black", **look)
        if count <= NAMED_CLASSES:
            names = [drawable(name) for name in class_names]
            axes.set_xticks(range(count), names, rotation=60, ha="right", rotation_mode="anchor")
            axes.set_yticks(range(count), names)
        figure.colorbar(image, label="angle between prototypes, degrees")
        return album.save(figure, "prototypes")


def class_colors(count: int) -> np.ndarray:
    """(C, 3) colours: ten to tell apart, and a range of hues for more classes."""
    if count <= len(CLASS_COLORS):
        return np.array([to_rgb(color) for color in CLASS_COLORS[:count]])
    return colormaps["turbo"](np.linspace(0.03, 0.97, count))[:, :3]


def _dot(color: str, label: str) -> Line2D:
    return Line2D([], [], marker="o", linestyle="", color=color, markersize=5, label=label)
