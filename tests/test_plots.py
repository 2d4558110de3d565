"""Figures: they are written whole, the same twice, show what they should, and leave no global state behind."""

import itertools
import re

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread
from matplotlib.patches import Rectangle
from PIL import Image

from utils.evaluation import feature_plots, plots
from utils.evaluation.drawing import Album, drawable
from utils.evaluation.evaluation import ScoreResult
from utils.evaluation.projection import project, sample_rows
from utils.evaluation.tables import Row

ID = np.random.default_rng(0).normal(1, 1, 200)
NAMES = ("SVHN", "dtd (partial, 1 of 2)", "a/b")
OOD = {name: np.random.default_rng(i).normal(-1, 1, 150) for i, name in enumerate(NAMES)}


def settings():
    return {name: matplotlib.rcParams[name] for name in Album(None, "").rc}


def result(ood, id_scores=ID, threshold=-0.6, name="ssd"):
    metrics = {each: {"fpr95": 0.1, "auroc": 1.0} for each in ood}
    return ScoreResult(name, "score", None, id_scores, ood, threshold, False, metrics, None, None)


def histograms(album, ood=OOD):
    return plots.score_histograms(album, result(ood))


def distances(album, ood=OOD):
    scores = {name: -abs(rows) - 1 for name, rows in ood.items()}
    return plots.score_histograms(album, result(scores, -abs(ID), -0.9, "knn"))


def roc(album, ood=OOD):
    return plots.roc_curves(album, result(ood))


def angles(album, ood=OOD):
    degrees = {"ID test": 10 + abs(ID), **{name: 40 + 9 * abs(rows) for name, rows in ood.items()}}
    return plots.angle_histograms(album, degrees, dict.fromkeys(ood, 12.5))


def discrepancies(album, ood=OOD):
    others = {name: -np.random.default_rng(0).uniform(0.5, 2, 100) for name in ood}
    return plots.discrepancy_histograms(album, result(others, -abs(ID) / 20), 6)


def over_k(album, ood=OOD):
    sweep = {k: {name: {"fpr95": 1 / k, "auroc": 1 - 0.1 / k} for name in ood} for k in (1, 10, 100)}
    return plots.metrics_over_k(album, sweep, 10)


def near_and_far(album, ood=OOD):
    samples = {"fpr95": np.array([0.1, 0.3]), "auroc": np.array([0.8, 0.99])}
    rows = [
        Row(name, 9, {"fpr95": 0.2, "auroc": 0.9 + i / 100}, group == "near", group, samples)
        for i, (name, group) in enumerate(zip(ood, itertools.cycle(["near", "far"])))
    ]
    return plots.near_and_far(album, rows)


def features(album, ood=OOD):
    random = np.random.default_rng(0)
    points = {name: random.normal(size=(50, 2)) for name in ("ID test", *ood)}
    return feature_plots.feature_projection(
        album,
        points,
        np.arange(50) % 10,
        name="features_pca",
        axis_labels=("one", "two"),
        class_names=[f"class {i}" for i in range(10)],
    )


def prototypes(album, ood=None, classes=10):
    rows = np.random.default_rng(0).normal(size=(classes, 16))
    return feature_plots.prototype_angles(album, rows, [f"class {i}" for i in range(classes)])


ALL = [histograms, distances, roc, angles, discrepancies, over_k, near_and_far, features, prototypes]


@pytest.mark.parametrize("draw", ALL)
def test_picture_and_pdf_are_written_alike_every_time(draw, tmp_path):
    before = settings()
    first, second = (draw(Album(tmp_path / folder, "CIDER, CIFAR-10, run/epoch 5")) for folder in ("a", "b"))
    assert sorted(path.suffix for path in (tmp_path / "a").iterdir()) == [".pdf", ".png"]
    assert first.read_bytes() == second.read_bytes()
    assert first.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    picture = imread(first)[:, :, :3]
    assert min(picture.shape[:2]) > 400
    # More than axes and text: both colours, or those of the classes, cover a visible area.
    assert ((picture.max(2) - picture.min(2)) > 0.2).mean() > 0.002
    assert settings() == before
    assert "CIDER, CIFAR-10, run/epoch 5" in Image.open(first).text["Title"]


@pytest.mark.parametrize("draw", ALL)
def test_on_paper_a_figure_is_a_pdf_of_one_column(draw, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Album, "save", lambda self, figure, name: drawn.append(figure))
    draw(Album(tmp_path, "about", "paper"))
    assert drawn[0].get_figwidth() == pytest.approx(3.3)
    assert not any("AUROC 1" in axes.get_title() or "separability" in axes.get_title() for axes in drawn[0].axes)
    monkeypatch.undo()
    assert draw(Album(tmp_path / "b", "about", "paper")).suffix == ".pdf"
    assert len(list((tmp_path / "b").iterdir())) == 1


@pytest.mark.parametrize("count", [1, 5])
def test_any_number_of_sets_fits(count, tmp_path):
    ood = {f"set {i}": ID - i for i in range(count)}
    for style, files in zip(("screen", "paper"), (6, 3), strict=True):
        for draw in (histograms, roc, features):
            draw(Album(tmp_path / style, "", style), ood)
        assert len(list((tmp_path / style).iterdir())) == files


def test_scores_that_are_all_equal_and_a_hundred_classes_are_drawn(tmp_path):
    album = Album(tmp_path, "")
    plots.score_histograms(album, result({"x": np.zeros(9)}, np.zeros(9), 0.0))
    prototypes(album, classes=100)
    assert len(list(tmp_path.iterdir())) == 4


def shown_figure(monkeypatch, draw):
    drawn = []
    monkeypatch.setattr(Album, "save", lambda self, figure, name: drawn.append(figure))
    draw(Album(None, ""))
    return drawn[0]


def test_squared_distances_are_shown_as_distances_with_id_to_the_left(monkeypatch):
    id_scores, ood = -np.linspace(0.01, 0.04, 100), {"x": -np.linspace(0.5, 1, 100)}

    def draw(album):
        plots.score_histograms(album, result(ood, id_scores, -0.04, "knn"))

    axes = shown_figure(monkeypatch, draw).axes[0]
    assert axes.lines[0].get_xdata()[0] == pytest.approx(0.2)
    low, high = axes.get_xlim()
    assert low == pytest.approx(0.1, abs=0.01) and high == pytest.approx(1, abs=0.01)


def test_equal_curves_are_told_apart_and_false_positives_are_on_a_logarithmic_axis(monkeypatch):
    figure = shown_figure(monkeypatch, lambda album: roc(album, {"a": OOD["SVHN"], "b": OOD["SVHN"]}))
    first, second = figure.axes[0].lines[:2]
    assert first.get_linewidth() > second.get_linewidth() + 0.5 and figure.axes[0].get_xscale() == "log"
    assert min(first.get_xdata()) > 0


def test_a_group_has_its_mean_where_it_has_a_whole_set(monkeypatch):
    figure = shown_figure(monkeypatch, near_and_far)
    assert [len(axes.collections) for axes in figure.axes] == [3, 3]  # error bars of both groups, and near's mean


def test_names_in_any_script_are_drawn_and_long_ones_shortened():
    assert drawable("katze") == "katze" and drawable("Кошка ñ") == "Кошка ñ"
    assert drawable("猫") == "Mao" and drawable("ねこ").isascii()
    title = Album(None, "").title(
        "a very long name of a set that somebody has given to it, for no reason at all", "AUROC 1"
    )
    assert title.count("\n") == 2 and "…" in title and title.endswith("\nAUROC 1")
    assert "AUROC" not in Album(None, "", "paper").title("x", "AUROC 1")


def test_the_discrepancy_is_shown_as_a_distance_with_its_ideal(monkeypatch):
    figure = shown_figure(monkeypatch, lambda album: discrepancies(album, {"a": None}))
    axes = figure.axes[0]
    assert axes.get_xlim() == pytest.approx((0, 2))
    (line,) = axes.lines
    assert line.get_xdata()[0] == pytest.approx(2 - 2 / 6)
    bars = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    sides = bars[: len(bars) // 2], bars[len(bars) // 2 :]
    near_id, near_ood = (max(bar.get_x() for bar in side if bar.get_height()) for side in sides)
    assert near_id < 0.5 < near_ood  # ID to the left: distances, not scores
    assert "1.67" in figure.legends[0].get_texts()[-1].get_text()


def test_a_failing_figure_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="1 of 2 OOD scores are not finite"):
        roc(Album(tmp_path, ""), {"broken": np.array([0, np.nan])})
    assert list(tmp_path.iterdir()) == []


def test_pca_shows_the_axes_of_largest_variance_of_id():
    random = np.random.default_rng(0)
    scales = np.array([0.1, 5.0, 0.2, 1.0])
    rows = random.normal(size=(500, 4)) * scales + 7
    shown, axes = project({"id": torch.from_numpy(rows), "ood": torch.zeros(3, 4)}, "id", "pca", 0)
    share = 100 * 25 / (25 + 1 + 0.04 + 0.01)
    assert int(re.search(r"1 \((\d+) %", axes[0])[1]) == pytest.approx(share, abs=2)
    np.testing.assert_allclose(abs(np.corrcoef(shown["id"][:, 0], rows[:, 1])[0, 1]), 1, atol=1e-3)
    np.testing.assert_allclose(abs(np.corrcoef(shown["id"][:, 1], rows[:, 3])[0, 1]), 1, atol=1e-3)
    np.testing.assert_allclose(shown["id"].mean(0), 0, atol=1e-9)
    assert np.abs(shown["ood"]).max() > 6


def test_tsne_is_the_same_with_the_same_seed():
    groups = {name: torch.randn(20, 60, generator=torch.Generator().manual_seed(i)) for i, name in enumerate("ab")}
    first, second = (project(groups, "a", "tsne", 3)[0] for _ in range(2))
    assert [rows.shape for rows in first.values()] == [(20, 2), (20, 2)]
    assert all((first[name] == second[name]).all() for name in groups)


def test_sampled_rows_are_distinct_ascending_and_seeded():
    rows = torch.zeros(100, 2)
    found = sample_rows(rows, 30, 1)
    assert (found.diff() > 0).all() and len(found) == 30
    assert torch.equal(found, sample_rows(rows, 30, 1)) and not torch.equal(found, sample_rows(rows, 30, 2))
    assert torch.equal(sample_rows(rows, 100, 1), torch.arange(100))


def test_titles_of_neighbouring_panels_do_not_overlap(monkeypatch):
    names = ("TinyImageNet_crop (origin unverified)", "TinyImageNet_resize (origin unverified)", "dtd", "x")
    figure = shown_figure(monkeypatch, lambda album: histograms(album, {name: OOD["SVHN"] for name in names}))
    FigureCanvasAgg(figure).draw()
    boxes = [axes.title.get_window_extent() for axes in figure.axes]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))
