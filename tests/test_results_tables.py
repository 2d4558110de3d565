"""Tables of results: what is averaged, what never is, and how ours stands beside the published."""

import math
from dataclasses import replace

import pytest

from tests.result_rows import OFFICIAL, openood_run, row, run
from utils.evaluation.grid import as_latex, as_markdown, as_text
from utils.results import published
from utils.results.aggregate import Spread, aggregate, columns_of, spread
from utils.results.tables import by_method, counterparts, labels, same_setup

PUBLISHED = published.lines()


def test_mean_and_standard_deviation_by_an_explicit_loop():
    values = [18.2, 3.4, 29.1, 6.6]
    mean = sum(values) / 4
    std = math.sqrt(sum((value - mean) ** 2 for value in values) / 3)
    assert spread(values) == Spread(pytest.approx(mean), pytest.approx(std))
    assert str(spread([18.2, 3.4])) == "10.80 ± 10.47"
    assert str(spread([18.2])) == "18.20"


def test_the_mean_over_sets_is_taken_in_each_run_first():
    [group] = aggregate([*run(80, seed=1), *run(90, seed=2)])
    assert group.runs == 2
    assert str(group.cells["SVHN"]["auroc"]) == "85.00 ± 7.07"  # of 80 and 90
    assert str(group.means["mean (5)"]["auroc"]) == "87.00 ± 7.07"  # of 82 and 92
    assert columns_of([group]) == [*OFFICIAL, "mean (5)"]


def test_no_mean_over_an_incomplete_or_partial_table():
    partial = run(80)
    partial[-1] = row(ood="dtd (partial, 1,200 of 5,640)", images=1200)
    assert not aggregate(partial)[0].means
    one_run_lacks_a_set = [*run(80, seed=1), *run(90, seed=2)[:-1]]
    [group] = aggregate(one_run_lacks_a_set)
    assert not group.means and group.cells["dtd"]["auroc"] == spread([84])
    [line] = by_method([group]).body
    assert line[1] == "2" and line[2].endswith("85.00 ± 7.07") and line[6].endswith("84.00 (1 of 2 runs)")


@pytest.mark.parametrize(
    "other",
    [
        {"trained_with": "temp=0.2 w=2.0"},
        {"train_images": 10_000},
        {"id_images": 9_000},
        {"K": 50},
        {"epochs": 499},
        {"arch": "resnet34"},
        {"width": 32},
        {"benchmark": "odin"},
        {"positive": "OOD"},
        {"unlabelled": "transductive"},
        {"id_files": "other files"},
        {"method": "supcon"},
    ],
)
def test_runs_with_other_settings_are_never_averaged(other):
    assert [group.runs for group in aggregate([row(seed=1), row(seed=2, **other)])] == [1, 1]


def test_runs_that_differ_in_the_k_that_validation_images_chose_are_averaged():
    chosen = [*openood_run(80, seed=1, K=50), *openood_run(90, seed=2, K=100)]
    [group] = aggregate(chosen)
    assert group.runs == 2 and labels([group]) == ["CIDER (KNN, K=50 or 100)"]
    given = openood_run(90, seed=2, K=100, command="python eval_cider.py --K 100 --benchmark openood")
    assert [group.runs for group in aggregate([*openood_run(80, seed=1, K=50), *given])] == [1, 1]
    by_noise = [row(seed=seed, K=k, command="python eval_cider.py --K auto") for seed, k in ((1, 5), (2, 10))]
    assert [group.runs for group in aggregate(by_noise)] == [2]
    swept = [row(seed=seed, K=k, command="python eval_cider.py --K-sweep 1,5") for seed, k in ((1, 5), (2, 10))]
    assert [group.runs for group in aggregate(swept)] == [1, 1]


def test_other_images_under_one_name_are_never_averaged():
    [group] = aggregate([row(ood="scenes", images=3000, seed=1), row(ood="scenes", images=3500, seed=2, auroc=50)])
    assert {name: str(cell["auroc"]) for name, cell in group.cells.items()} == {
        "scenes: 3000": "90.00",
        "scenes: 3500": "50.00",
    }


def test_a_run_that_was_repeated_to_the_same_numbers_counts_once():
    again = [replace(each, checkpoint_sha256="another file") for each in run(80, seed=1)]
    [group] = aggregate([*run(80, seed=1), *again, *run(90, seed=2)])
    assert group.runs == 2
    another_rounding = [replace(each, checkpoint_sha256="another file") for each in run(81, seed=1)]
    assert aggregate([*run(80, seed=1), *another_rounding])[0].runs == 2


def test_near_and_far_are_means_of_openoods_sets_alone():
    [group] = aggregate(openood_run(80))
    assert str(group.means["near"]["auroc"]) == "80.50" and str(group.means["far"]["auroc"]) == "83.50"
    assert columns_of([group]) == ["CIFAR-100", "TIN", "MNIST", "SVHN", "dtd", "places365", "near", "far"]
    ciders = [row(ood="CIFAR-100", images=10_000), *run(80)]
    assert list(aggregate(ciders)[0].means) == ["mean (5)"]


def test_a_mean_over_a_part_of_a_group_says_of_which_sets_it_is():
    rows_there = [each for each in openood_run(80) if each.ood not in ("TIN", "MNIST", "places365")]
    partial = replace(rows_there[-1], ood="dtd (partial, 1,200 of 5,640)", images=1200)
    means = aggregate([*rows_there[:-1], partial])[0].means
    assert list(means) == ["near (1 of 2: CIFAR-100)", "far (1 of 4: SVHN)"]
    assert list(aggregate([partial])[0].means) == []


def test_two_benchmarks_never_stand_in_one_table():
    groups = aggregate([*run(80), *openood_run(80)])
    assert [group.facts["benchmark"] for group in groups] == ["cider", "openood"]
    with pytest.raises(ValueError, match="several ID sets or benchmarks"):
        by_method(groups)
    assert {line.facts["benchmark"] for group in groups[:1] for line in counterparts(group, PUBLISHED)} == {"cider"}
    assert {line.facts["benchmark"] for group in groups[1:] for line in counterparts(group, PUBLISHED)} == {"openood"}


def test_ours_on_openood_stands_beside_the_board():
    text = as_text(by_method(aggregate(openood_run(90)), PUBLISHED, metrics=("auroc",)))
    ours, board = text.splitlines()[2:4]
    assert "OpenOOD v1.5" in text and "OOD is the positive class" in text and "#" not in text
    assert ours.startswith("CIDER (KNN, K=100) ") and board.startswith("  published: OpenOOD 1.5 leaderboard ✓")
    assert "89.47 § (+0.53)" in board and "90.71 ± 0.16 (-0.21)" in board  # 90 - 89.47; 90.5 - 90.71
    assert "#" in as_text(by_method(aggregate(openood_run(90, epochs=99)), PUBLISHED))


def test_ours_stands_beside_the_published_with_the_difference():
    text = as_text(by_method(aggregate([*run(97, seed=4), *run(98, seed=5)]), PUBLISHED))
    lines = text.splitlines()
    assert "ID is the positive class" in lines[0] and "500 epochs" in lines[0]
    ours, paper = lines[2], next(line for line in lines if "published: paper" in line)
    assert ours.startswith("CIDER (KNN, K=100)   ") and "10.00 ± 0.00 / 97.50 ± 0.71" in ours
    assert "2.89 / 99.72 (+7.11 / -2.22)" in paper  # 10.00 - 2.89, 97.50 - 99.72
    assert "§ ✓" in paper and any("a user's retrain" in line for line in lines)
    assert "ours minus the published" in text and "#" not in text


def test_a_short_run_is_marked_as_no_reproduction():
    text = as_text(by_method(aggregate(run(97, epochs=20)), PUBLISHED))
    assert "CIDER (KNN, K=100) #" in text and "no reproduction" in text


@pytest.mark.parametrize(
    ("given", "same"),
    [
        ({}, True),
        ({"epochs": 499}, False),
        ({"train_images": 49_999}, False),
        ({"arch": "wrn-40-2"}, False),
        ({"width": 32}, False),
        ({"method": "vos", "epochs": 100}, True),
        ({"method": "ce", "epochs": 199}, False),
        ({"method": "ce", "epochs": 200}, True),
        ({"method": "mcd", "epochs": 309}, False),
        ({"method": "mcd", "epochs": 310}, True),
        ({"method": "mcd-pretrain", "epochs": 100}, False),
        ({"method": "another"}, False),
    ],
)
def test_which_setup_is_the_papers(given, same):
    [group] = aggregate([row(**given)])
    assert same_setup(group.facts, {"arch": "resnet18", "epochs": None}) is same


@pytest.mark.parametrize(("epochs", "same"), [(99, False), (100, True)])
def test_the_epochs_that_a_source_states_are_what_counts(epochs, same):
    [group] = aggregate([row(epochs=epochs)])
    assert same_setup(group.facts, {"arch": "resnet18", "epochs": 100}) is same


def test_methods_have_the_names_of_the_papers_tables():
    groups = aggregate(
        [
            row(method="supcon"),
            row(method="supcon", score="ssd", K=""),
            row(method="ce", score="vim", K="", epochs=200),
            row(method="ce", score="maha++", K="", epochs=200),
        ]
    )
    assert labels(groups[:2]) == ["KNN+ (SupCon, K=100)", "SSD+ (SupCon)"]
    assert labels(groups)[2:] == ["ViM (Cross-entropy, 200 epochs)", "Cross-entropy (Mahalanobis++, 200 epochs)"]


def test_what_two_groups_differ_in_stands_in_their_names():
    groups = aggregate([row(seed=1), row(seed=2, trained_with="temp=0.1 w=1.0"), row(seed=3, method="supcon")])
    assert labels(groups) == ["CIDER (KNN, K=100, w=2.0)", "CIDER (KNN, K=100, w=1.0)", "KNN+ (SupCon, K=100)"]


def test_who_saw_unlabelled_data_is_marked_in_every_format():
    groups = aggregate(
        [row(method="mcd", score="discrepancy", K="", unlabelled=mode) for mode in ("transductive", "inductive")]
    )
    grid = by_method(groups)
    latex = as_latex(grid).replace(r"$\dagger$", "†").replace(r"$\ddagger$", "‡")
    for text in (as_text(grid), as_markdown(grid), latex):
        assert "MCD (discrepancy) †" in text and "MCD (discrepancy) ‡" in text
        assert "(transductive)" in text and "(inductive)" in text
