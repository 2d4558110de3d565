"""Figures: they are written whole, the same twice, show what they should, and leave no global state behind."""

import itertools

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread
from matplotlib.patches import Rectangle

from utils.evaluation import feature_plots, plots
from utils.evaluation.drawing import STYLE
from utils.evaluation.projection import on_ordinary_sphere, project, sample_rows

ID = np.random.default_rng(0).normal(1, 1, 200)
NAMES = ("SVHN", "dtd (partial, 1 of 2)", "a/b")
OOD = {name: np.random.default_rng(i).normal(-1, 1, 150) for i, name in enumerate(NAMES)}


def settings():
    return {name: matplotlib.rcParams[name] for name in STYLE}


def histograms(path, ood=OOD):
    plots.score_histograms(path, ID, ood, -0.6, label="score", subtitles=dict.fromkeys(ood, "AUROC 1"))


def roc(path, ood=OOD):
    plots.roc_curves(path, ID, ood, dict.fromkeys(ood, 0.5))


def angles(path, ood=OOD):
    plots.angle_histograms(
        path, 10 + abs(ID), {name: 40 + 9 * abs(rows) for name, rows in ood.items()}, dict.fromkeys(ood, 12.5)
    )


def discrepancies(path, ood=OOD):
    distances = {name: np.random.default_rng(0).uniform(0.5, 2, 100) for name in ood}
    plots.discrepancy_histograms(
        path, -abs(ID) / 20, {name: -rows for name, rows in distances.items()}, 6, subtitles=dict.fromkeys(ood, "x")
    )


def over_k(path, ood=OOD):
    sweep = {k: {name: {"fpr95": 1 / k, "auroc": 1 - 0.1 / k} for name in ood} for k in (1, 10, 100)}
    plots.metrics_over_k(path, sweep, 10)


def features(path, ood=OOD):
    random = np.random.default_rng(0)
    points = {name: random.normal(size=(50, 2)) for name in ("ID test", *ood)}
    feature_plots.feature_projection(path, points, "ID test", label="principal component")


def prototypes(path, ood=None, classes=10):
    random = np.random.default_rng(0)
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in random.normal(size=(2, 100, 3))]
    names = [f"class {i}" for i in range(classes)]
    feature_plots.prototypes_on_sphere(path, unit[0][:classes], unit[1], np.arange(100) % classes, names)


@pytest.mark.parametrize("draw", [histograms, roc, angles, discrepancies, over_k, features, prototypes])
def test_picture_and_pdf_are_written_alike_every_time(draw, tmp_path):
    before = settings()
    draw(tmp_path / "first")
    draw(tmp_path / "second")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first.pdf", "first.png", "second.pdf", "second.png"]
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()
    assert (tmp_path / "first.pdf").read_bytes().startswith(b"%PDF")
    picture = imread(tmp_path / "first.png")[:, :, :3]
    assert min(picture.shape[:2]) > 400
    # More than axes and text: both colours, or those of the classes, cover a visible area.
    assert ((picture.max(2) - picture.min(2)) > 0.2).mean() > 0.002
    assert settings() == before


@pytest.mark.parametrize("count", [1, 5])
def test_any_number_of_sets_fits(count, tmp_path):
    ood = {f"set {i}": ID - i for i in range(count)}
    for draw in (histograms, roc, features):
        draw(tmp_path / draw.__name__, ood)
    assert len(list(tmp_path.iterdir())) == 6


def test_scores_that_are_all_equal_and_a_hundred_classes_are_drawn(tmp_path):
    plots.score_histograms(tmp_path / "flat", np.zeros(9), {"x": np.zeros(9)}, 0.0, label="s", subtitles={"x": ""})
    prototypes(tmp_path / "many", classes=100)
    assert len(list(tmp_path.iterdir())) == 4


def test_the_discrepancy_is_shown_as_a_distance_with_its_ideal(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(plots, "save_figure", lambda figure, path: shown.append(figure))
    discrepancies(tmp_path / "x", {"a": None})
    axes = shown[0].axes[0]
    assert axes.get_xlim() == pytest.approx((0, 2))
    (line,) = axes.lines
    assert line.get_xdata()[0] == pytest.approx(2 - 2 / 6)
    bars = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    sides = bars[: len(bars) // 2], bars[len(bars) // 2 :]
    near_id, near_ood = (max(bar.get_x() for bar in side if bar.get_height()) for side in sides)
    assert near_id < 0.5 < near_ood  # ID to the left: distances, not scores
    assert "1.67" in shown[0].legends[0].get_texts()[-1].get_text()


def test_a_failing_figure_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="no OOD scores"):
        roc(tmp_path / "broken", {"empty": np.zeros(0)})
    assert list(tmp_path.iterdir()) == []


def test_pca_shows_the_axes_of_largest_variance_of_id():
    random = np.random.default_rng(0)
    scales = np.array([0.1, 5.0, 0.2, 1.0])
    rows = random.normal(size=(500, 4)) * scales + 7
    shown = project({"id": torch.from_numpy(rows), "ood": torch.zeros(3, 4)}, "id", "pca", 0)
    np.testing.assert_allclose(abs(np.corrcoef(shown["id"][:, 0], rows[:, 1])[0, 1]), 1, atol=1e-3)
    np.testing.assert_allclose(abs(np.corrcoef(shown["id"][:, 1], rows[:, 3])[0, 1]), 1, atol=1e-3)
    np.testing.assert_allclose(shown["id"].mean(0), 0, atol=1e-9)
    assert np.abs(shown["ood"]).max() > 6


def test_tsne_is_the_same_with_the_same_seed():
    groups = {name: torch.randn(20, 60, generator=torch.Generator().manual_seed(i)) for i, name in enumerate("ab")}
    first, second = (project(groups, "a", "tsne", 3) for _ in range(2))
    assert [rows.shape for rows in first.values()] == [(20, 2), (20, 2)]
    assert all((first[name] == second[name]).all() for name in groups)
    with pytest.raises(ValueError, match="umap"):
        project(groups, "a", "umap", 0)


def test_sphere_keeps_angles_of_what_lies_in_three_dimensions():
    turn, _ = torch.linalg.qr(torch.randn(20, 20, generator=torch.Generator().manual_seed(0)).double())
    flat = torch.nn.functional.normalize(torch.randn(5, 3, generator=torch.Generator().manual_seed(1)).double(), dim=1)
    high = flat @ turn[:3]
    prototypes_3d, same = on_ordinary_sphere(high, high)
    np.testing.assert_allclose(prototypes_3d @ same.T, (flat @ flat.T).numpy(), atol=1e-9)
    two_classes, _ = on_ordinary_sphere(high[:2], high)
    assert two_classes.shape == (2, 3)


def test_sampled_rows_are_distinct_ascending_and_seeded():
    rows = torch.zeros(100, 2)
    found = sample_rows(rows, 30, 1)
    assert (found.diff() > 0).all() and len(found) == 30
    assert torch.equal(found, sample_rows(rows, 30, 1)) and not torch.equal(found, sample_rows(rows, 30, 2))
    assert torch.equal(sample_rows(rows, 100, 1), torch.arange(100))


def test_titles_of_neighbouring_panels_do_not_overlap(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "save_figure", lambda figure, path: drawn.append(figure))
    names = ("TinyImageNet_crop (origin unverified)", "TinyImageNet_resize (origin unverified)", "dtd", "x")
    histograms(tmp_path / "x", {name: OOD["SVHN"] for name in names})
    FigureCanvasAgg(drawn[0]).draw()
    boxes = [axes.title.get_window_extent() for axes in drawn[0].axes]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))
