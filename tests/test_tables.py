"""Tables in four formats: what they state, how they align, which sets the mean is over."""

import csv
import io

import numpy as np
import pytest

from utils.evaluation.tables import Row, Table, to_csv, to_latex, to_markdown, to_text


def metrics(fpr95, auroc):
    return {"fpr95": fpr95, "auroc": auroc, "aupr_in": 0.5, "aupr_out": 0.25}


ROWS = (
    Row("SVHN", 10000, metrics(0.10, 0.9), True),
    Row("iSUN", 8925, metrics(0.30, 0.7), True),
    Row("dtd (partial, 1,200 of 5,640)", 1200, metrics(1.0, 0.0), False),
)
MISSING = {"LSUN": "LSUN not found; looked for : data/LSUN; get it by : by hand | 50%_of_it"}


def make(rows=ROWS, missing=MISSING, notes=()):
    return Table("CIDER", "ResNet-18", "CIFAR-10", "KNN (K=100)", 500, rows, missing, notes)


def test_text_is_aligned_and_states_everything():
    lines = to_text(make(notes=("a note",))).splitlines()
    assert lines[0] == (
        "CIDER  ResNet-18  CIFAR-10   score: KNN (K=100), larger = more ID   epoch 500   ID is the positive class"
    )
    assert lines[1].split() == "OOD set images FPR95 ↓ AUROC ↑ AUPR-In ↑ AUPR-Out ↑".split()
    assert lines[2].split() == ["SVHN", "10000", "10.00", "90.00", "50.00", "25.00"]
    assert lines[5].split() == ["mean", "(2)", "20.00", "80.00", "50.00", "25.00"]
    assert len({len(line) for line in lines[1:6]}) == 1
    assert lines[6:9] == ["mean over: SVHN, iSUN", "not in the mean: dtd (partial, 1,200 of 5,640)", "a note"]
    assert lines[9:] == ["not evaluated: LSUN not found; looked for : data/LSUN; get it by : by hand | 50%_of_it"]


def test_mean_is_over_all_sets_where_none_is_official():
    table = make(rows=ROWS[2:], missing={})
    assert table.means[0].metrics["fpr95"] == 1.0
    assert "mean over: dtd (partial, 1,200 of 5,640) (no complete official set)" in to_text(table)
    assert "mean (1)" in to_text(table)


def test_markdown_has_a_cell_for_each_column_and_escapes_bars():
    table = make(rows=(*ROWS, Row("a|b", 1, metrics(0, 1), False)))
    lines = [line for line in to_markdown(table).splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in lines} == {7}
    assert lines[0].startswith("| OOD set | images | FPR95 ↓ |")
    assert "not evaluated: LSUN not found; looked for : data/LSUN; get it by" in to_markdown(table)


def test_latex_escapes_what_latex_would_read():
    text = to_latex(make(rows=(Row("50%_&#{}~^\\$", 1, metrics(0, 1), True),)))
    assert r"50\%\_\&\#\{\}\textasciitilde{}\textasciicircum{}\textbackslash{}\$ & 1 & 0.00" in text
    assert text.count(r"\\" + "\n") == 3
    assert r"FPR95 $\downarrow$" in text
    assert "LSUN" in text and "ID is the positive class" in text and "K=100" in text


def test_csv_reads_back():
    rows = list(csv.DictReader(io.StringIO(to_csv(make()))))
    assert [row["ood_set"] for row in rows] == ["SVHN", "iSUN", "dtd (partial, 1,200 of 5,640)", "mean (2)", "LSUN"]
    assert [row["in_mean"] for row in rows] == ["yes", "yes", "no", "", "no"]
    assert float(rows[3]["fpr95_percent"]) == pytest.approx(20)
    assert {(row["method"], row["score"], row["positive"], row["epoch"]) for row in rows} == {
        ("CIDER", "KNN (K=100)", "ID", "500")
    }
    assert rows[4]["fpr95_percent"] == "" and "looked for : data/LSUN" in rows[4]["note"]


def with_samples(row, group=""):
    samples = {name: value + np.linspace(-0.1, 0.1, 41) for name, value in row.metrics.items()}
    return Row(row.name, row.images, row.metrics, row.official, group, samples)


def test_intervals_stand_in_brackets_and_in_the_csv():
    table = make(rows=[with_samples(row) for row in ROWS[:2]])
    lines = to_text(table).splitlines()
    assert "10.00 [0.50, 19.50]" in lines[2]
    assert "20.00 [10.50, 29.50]" in lines[4]
    assert "41 bootstrap resamples" in to_text(table)
    rows = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert (float(rows[0]["fpr95_low_percent"]), float(rows[0]["fpr95_high_percent"])) == pytest.approx((0.5, 19.5))


GROUPED = tuple(
    Row(name, 10, metrics(value, 0.5), official, group)
    for name, value, official, group in (
        ("CIFAR-100", 0.4, True, "near"),
        ("SVHN", 0.2, True, "far"),
        ("dtd", 0.6, True, "far"),
        ("MNIST (partial, 10 of 70,000)", 1.0, False, "far"),
        ("mine", 1.0, False, ""),
    )
)


def test_groups_of_a_benchmark_have_means_of_their_whole_sets():
    table = Table("CIDER", "a", "CIFAR-10", "s", 1, GROUPED[:3], groups={"near": 1, "far": 2})
    lines = to_text(table).splitlines()
    assert [line.split("  ")[0] for line in lines[5:7]] == ["near (1)", "far (2)"]
    assert lines[5].split()[2] == "40.00" and lines[6].split()[2] == "40.00"
    assert "near over: CIFAR-100" in lines and "far over: SVHN, dtd" in lines
    assert to_latex(table).count(r"\\" + "\n") == 6


def test_a_group_that_is_not_whole_says_which_sets_it_is_over():
    table = Table("CIDER", "a", "CIFAR-10", "s", 1, GROUPED, groups={"near": 2, "far": 4})
    assert [mean.label for mean in table.means] == ["near (1 of 2: CIFAR-100)", "far (2 of 4: SVHN, dtd)"]
    assert [mean.metrics["fpr95"] for mean in table.means] == pytest.approx([0.4, 0.4])
    assert "in no mean: MNIST (partial, 10 of 70,000), mine" in to_text(table)
    rows = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert [row["in_mean"] for row in rows[:5]] == ["yes", "yes", "yes", "no", "no"]
    near_alone = to_text(
        Table("CIDER", "a", "CIFAR-10", "s", 1, [GROUPED[0], GROUPED[3]], groups={"near": 2, "far": 4})
    )
    assert "far (0 of 4): no set of it is there whole" in near_alone and "in no mean: MNIST (partial" in near_alone
    nothing_whole = Table("CIDER", "a", "CIFAR-10", "s", 1, GROUPED[3:], groups={"near": 2, "far": 4})
    assert [mean.label for mean in nothing_whole.means] == ["mean (2)"]


def test_latex_has_a_caption_a_label_notes_below_and_the_best_in_bold():
    first = make(notes=("a note",))
    better = tuple(Row(row.name, row.images, row.metrics | {"auroc": 0.95}, row.official) for row in ROWS)
    text = to_latex(first, Table("CIDER", "ResNet-18", "CIFAR-10", "SSD", 500, better, MISSING, ("a note",)))
    caption = next(line for line in text.splitlines() if line.startswith(r"\caption"))
    assert "CIFAR-10" in caption and "a note" not in caption and "mean over" not in caption
    assert r"\label{tab:cider-cifar-10-scores}" in text
    # FPR95 is the same in both rows, so that both are the best; AUROC is better in the second.
    assert r"KNN (K=100) & \textbf{10.00} / 90.00" in text and r"SSD & \textbf{10.00} / \textbf{95.00}" in text
    assert text.index(r"\end{tabular}") < text.index("a note") < text.index(r"\end{table}")
    assert r"\textbf{20.00} & \textbf{80.00}" in to_latex(make())  # the mean of a table of one score


def test_the_epoch_of_the_weights_stands_beside_that_of_the_run():
    table = Table("MCD", "a", "digits", "discrepancy", 10, ROWS, epoch_note="weights of epoch 6")
    assert "   epoch 10 (weights of epoch 6)   " in to_text(table)


def test_several_scores_stand_side_by_side():
    first = make(notes=("a note",))
    second = Table("CIDER", "ResNet-18", "CIFAR-10", "SSD", 500, ROWS[::1], MISSING, ("a note",), ("its own note",))
    lines = to_text(first, second).splitlines()
    assert "ID is the positive class" in lines[0] and "FPR95 ↓ / AUROC ↑" in lines[0]
    assert lines[2].split("   ")[0] == "KNN (K=100)" and lines[3].split()[:4] == ["SSD", "10.00", "/", "90.00"]
    assert lines[3].endswith("20.00 / 80.00")
    assert lines.count("a note") == 1 and "SSD: its own note" in lines
    rows = list(csv.DictReader(io.StringIO(to_csv(first, second))))
    assert [row["score"] for row in rows] == ["KNN (K=100)"] * 5 + ["SSD"] * 5
    assert "| SSD | 10.00 / 90.00 |" in to_markdown(first, second)


def test_the_other_convention_is_named():
    table = Table("CIDER", "ResNet-18", "CIFAR-10", "SSD", 500, ROWS, positive="OOD")
    assert "OOD is the positive class" in to_text(table) and ",OOD,SVHN," in to_csv(table)
