"""results/published.csv: sources and marks, and that each quoted mean is the mean of its cells."""

import pytest

from utils.errors import UserError
from utils.evaluation.grid import as_text
from utils.results import published
from utils.results.published import CIDER, OPENOOD
from utils.results.readme import published_lines
from utils.results.tables import by_method

ROWS = published.read()
LINES = published.groups(ROWS)
WITH_CELLS = [line for line in LINES if len(line.cells) > 1 and any(name.startswith("mean") for name in line.cells)]


def test_every_quoted_mean_is_the_mean_of_its_cells():
    assert len(WITH_CELLS) == 19
    for line in WITH_CELLS:
        [mean] = [name for name in line.cells if name.startswith("mean")]
        sets = [name for name in line.cells if name != mean]
        assert mean == f"mean ({len(sets)})"
        for metric, quoted in line.cells[mean].items():
            total = 0.0
            for name in sets:
                total += line.cells[name][metric].mean
            # The quoted mean is rounded to two decimals, and so is each cell.
            assert abs(total / len(sets) - quoted.mean) <= 0.0101, (line.facts, metric)


def test_a_line_says_that_its_average_agrees_where_it_was_computed():
    agreeing = [line for line in LINES if line.facts["average_agrees"] == "yes"]
    assert agreeing == WITH_CELLS


@pytest.mark.parametrize(
    ("id_name", "method", "score", "ood", "expected"),
    [
        ("CIFAR-100", "SupCon", "KNN", "mean (5)", ("60.22", "86.14")),
        ("CIFAR-100", "Cross-entropy", "vim", "LSUN", ("86.96", "69.74")),
        ("CIFAR-10", "CIDER", "KNN", "mean (5)", ("13.01", "97.26")),
        ("ImageNet-100", "CIDER", "KNN", "SUN", ("32.84 ± 1.86", "92.24 ± 0.38")),
    ],
)
def test_values(id_name, method, score, ood, expected):
    line = next(
        line for line in LINES if [line.facts[name] for name in ("id", "method", "score")] == [id_name, method, score]
    )
    assert (str(line.cells[ood]["fpr95"]), str(line.cells[ood]["auroc"])) == expected


def test_improvements_that_the_abstracts_claim():
    """13.33 and 19.36 points less FPR95 than KNN+ on CIFAR-100, by the two public versions."""
    lines = {
        (line.facts["method"], line.facts["variant"]): line.cells["mean (5)"]["fpr95"].mean
        for line in published_lines(LINES, "CIFAR-100", CIDER)
        if line.facts["score"] == "KNN"
    }
    knn = lines["SupCon", ""]
    assert knn - lines["CIDER", "conference version"] == pytest.approx(13.33)
    assert knn - lines["CIDER", "as quoted by PALM"] == pytest.approx(19.36, abs=0.011)


def test_the_benchmark_with_the_other_positive_class_stands_apart():
    apart = [line for line in LINES if line.facts["protocol"] == OPENOOD]
    assert len(apart) == 10
    assert {line.facts["positive"] for line in apart} == {"OOD"}
    assert {metric for line in apart for cell in line.cells.values() for metric in cell} == {"auroc"}
    assert {line.facts["positive"] for line in LINES if line not in apart} == {"ID"}
    assert not [line for line in apart if line in published_lines(LINES, "CIFAR-10", CIDER)]


def test_mcd_is_marked_as_transductive_everywhere():
    lines = published_lines(LINES, "CIFAR-10", "MCD")
    assert len(lines) == 1 and set(lines[0].cells) == {
        *("TinyImageNet_crop", "TinyImageNet_resize", "LSUN", "LSUN_resize", "iSUN")
    }
    assert "MCD †" in as_text(by_method(lines))


def test_numbers_are_shown_as_their_source_gives_them():
    text = as_text(by_method(published_lines(LINES, "CIFAR-10", "MCD")))
    assert "0.1 / 99.9" in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"source": ""}, "source is empty"),
        ({"mark": "somewhere"}, "mark is somewhere"),
        ({"ood": "SVHN_crops"}, "SVHN_crops is neither"),
        ({"fpr95": "", "auroc": "", "aupr_in": ""}, "no number"),
        ({"auroc": "about 90"}, "not a number"),
    ],
)
def test_a_number_without_source_mark_or_set_is_refused(change, said):
    with pytest.raises(UserError, match=said):
        published.check(ROWS[0] | change, "here")
