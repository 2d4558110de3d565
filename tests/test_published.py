"""results/published.csv: sources and marks, and that each quoted mean is the mean of its cells."""

from decimal import Decimal

import pytest

from utils.data.ood_table import OPENOOD_COUNTS, find_ood_set
from utils.errors import UserError
from utils.evaluation.benchmark import BENCHMARKS
from utils.evaluation.grid import as_text
from utils.results import published, rows
from utils.results.aggregate import MEANS
from utils.results.tables import MARKS, by_method

ROWS = rows.read(published.PUBLISHED, published.Number)
LINES = published.lines()
WITH_CELLS = [line for line in LINES if line.cells and line.means]


def test_every_quoted_mean_is_the_mean_of_its_cells():
    assert len(WITH_CELLS) == 21
    for line in WITH_CELLS:
        groups = BENCHMARKS[line.facts["benchmark"]].groups[line.facts["id"]]
        for label, quoted_cell in line.means.items():
            sets = groups[label.split(" ")[0]]
            assert label in ("near", "far", f"mean ({len(sets)})")
            for metric, quoted in quoted_cell.items():
                total = 0
                for name in sets:
                    total += line.cells[name][metric].mean
                # The quoted mean is rounded to two decimals, and so is each cell.
                assert abs(total / len(sets) - quoted.mean) <= Decimal("0.0101"), (line.facts, metric)


def test_a_line_says_that_its_average_agrees_where_it_was_computed():
    agreeing = [line for line in LINES if line.facts["average_agrees"] == "yes"]
    assert agreeing == WITH_CELLS


@pytest.mark.parametrize(
    ("id_name", "method", "score", "ood", "expected"),
    [
        ("CIFAR-100", "supcon", "knn", "mean (5)", ("60.22", "86.14")),
        ("CIFAR-100", "ce", "vim", "LSUN", ("86.96", "69.74")),
        ("CIFAR-10", "cider", "knn", "mean (5)", ("13.01", "97.26")),
        ("ImageNet-100", "cider", "knn", "SUN", ("32.84 ± 1.86", "92.24 ± 0.38")),
    ],
)
def test_values(id_name, method, score, ood, expected):
    line = next(
        line for line in LINES if [line.facts[name] for name in ("id", "method", "score")] == [id_name, method, score]
    )
    assert (str(line.cell(ood)["fpr95"]), str(line.cell(ood)["auroc"])) == expected


@pytest.mark.parametrize(
    ("id_name", "near", "far", "rivals"),
    [
        ("CIFAR-10", "90.71 ± 0.16", "94.71 ± 0.36", ("90.64 ± 0.20", "92.96 ± 0.14")),
        ("CIFAR-100", "73.10 ± 0.39", "80.49 ± 0.68", ("80.18 ± 0.15", "82.40 ± 0.17")),
    ],
)
def test_the_board_of_openood(id_name, near, far, rivals):
    lines = {line.facts["method"]: line for line in published.on(LINES, id_name, "openood")}
    assert [str(lines["cider"].means[name]["auroc"]) for name in ("near", "far")] == [near, far]
    assert [str(lines["ce"].means[name]["auroc"]) for name in ("near", "far")] == list(rivals)
    assert set(lines) == {"cider", "ce", "NPOS", "PALM", "ReweightOOD", "T2FNorm", "vos", "mcd"}
    assert set(lines["cider"].marks.items()) >= {("TIN", "recalled"), ("near", "table")}
    text = as_text(by_method(list(lines.values()), metrics=("auroc",)))
    assert "§" in text and "population standard deviation" in text


def test_improvements_that_the_abstracts_claim():
    """13.33 and 19.36 points less FPR95 than KNN+ on CIFAR-100, by the two public versions."""
    lines = {
        (line.facts["method"], line.facts["variant"]): line.means["mean (5)"]["fpr95"].mean
        for line in published.on(LINES, "CIFAR-100")
        if line.facts["score"] == "knn"
    }
    knn = lines["supcon", ""]
    assert knn - lines["cider", "conference version"] == Decimal("13.33")
    assert abs(knn - lines["cider", "as quoted by PALM"] - Decimal("19.36")) <= Decimal("0.011")


def test_the_benchmark_with_the_other_positive_class_stands_apart():
    apart = [line for line in LINES if line.facts["benchmark"] == "openood"]
    assert len(apart) == 16
    assert {line.facts["positive"] for line in apart} == {"OOD"}
    assert {metric for line in apart for cell in (*line.cells.values(), *line.means.values()) for metric in cell} == {
        "auroc"
    }
    assert {line.facts["positive"] for line in LINES if line not in apart} == {"ID"}
    assert not [line for line in apart if line in published.on(LINES, "CIFAR-10")]


def test_mcd_is_marked_as_transductive_everywhere():
    lines = published.on(LINES, "CIFAR-10", "odin")
    assert len(lines) == 1 and set(lines[0].cells) == {
        *("TinyImageNet_crop", "TinyImageNet_resize", "LSUN", "LSUN_resize", "iSUN")
    }
    assert "MCD (discrepancy) †" in as_text(by_method(lines))


def test_numbers_are_shown_as_their_source_gives_them():
    text = as_text(by_method(published.on(LINES, "CIFAR-10", "odin")))
    assert "0.1 / 99.9" in text


def test_every_number_has_a_mark_and_is_of_a_known_set_and_benchmark():
    for row in ROWS:
        assert row.mark in {"table", "code", *MARKS}
        assert find_ood_set(row.ood) or row.ood in (*MEANS, *BENCHMARKS[row.benchmark].sets(row.id))
        assert any(getattr(row, metric) is not None for metric in published.METRICS)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (",published table,", ",,", "row 2: source is empty"),
        (",78.89,", ",about 79,", "row 2: fpr95 is about 79, not a number"),
        (",500,", ",5e2,", "epochs is 5e2, not a whole number"),
    ],
)
def test_a_cell_that_is_empty_or_no_number_is_refused(old, new, said, tmp_path):
    text = published.PUBLISHED.read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "published.csv").write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(UserError, match=said):
        published.lines(tmp_path / "published.csv")


def test_the_board_is_of_the_images_that_the_lists_have():
    for id_name, groups in BENCHMARKS["openood"].groups.items():
        assert {name for members in groups.values() for name in members} == OPENOOD_COUNTS[id_name].keys()
