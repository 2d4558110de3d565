"""Rows of results/: what is refused, what replaces what, what is averaged, and how it stands beside the published."""

import json
import math

import pytest

from tests.result_rows import OFFICIAL, row, run
from utils.errors import UserError
from utils.evaluation.grid import as_latex, as_markdown, as_text
from utils.results import published, rows
from utils.results.aggregate import Spread, aggregate, spread
from utils.results.tables import by_method, by_set, labels, same_setup

PUBLISHED = published.groups(published.read())


def test_rows_come_back_as_they_were_written(tmp_path):
    written = [row(), row(ood="dtd (partial, 1,200 of 5,640)", images=1200, unlabelled="inductive")]
    rows.write(written, tmp_path / "rows.csv")
    assert rows.read(tmp_path / "rows.csv") == [{name: each[name] for name in rows.COLUMNS} for each in written]
    assert rows.read(tmp_path / "none.csv") == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ood": "dtd", "images": 1200}, "official name dtd, which has 5,640"),
        ({"ood": "Textures", "images": 1200}, "official name Textures"),
        ({"ood": "SVHN", "images": 26032}, "official name SVHN"),
        ({"auroc": "101"}, "not a percentage"),
        ({"auroc": "nan"}, "not a percentage"),
        ({"fpr95": "-1"}, "not a percentage"),
        ({"aupr_in": "good"}, "not a number"),
        ({"positive": "both"}, "positive is both"),
        ({"unlabelled": "some"}, "unlabelled is some"),
        ({"id_files": "official"}, "id_files is official"),
        ({"date": ""}, "date is empty"),
        ({"images": "many"}, "not a number"),
    ],
)
def test_a_row_that_must_not_stand_there_is_refused_on_reading_and_writing(given, said, tmp_path):
    path = tmp_path / "rows.csv"
    with pytest.raises(UserError, match=said):
        rows.write([row(**given)], path)
    assert not path.exists()
    good = [row()]
    rows.write(good, path)
    text = path.read_text()
    bad = {name: row(**given)[name] for name in rows.COLUMNS}
    path.write_text(text + ",".join(f'"{value}"' for value in bad.values()) + "\n")
    with pytest.raises(UserError, match=f"rows.csv, row 3.*{said}"):
        rows.read(path)


def test_other_columns_and_torn_rows_are_refused(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("method,fpr95\nCIDER,3\n")
    with pytest.raises(UserError, match="missing: architecture"):
        rows.read(path)
    rows.write([row()], path)
    path.write_text(path.read_text().rstrip("\n") + ",more\n")
    with pytest.raises(UserError, match="another number of cells"):
        rows.read(path)


@pytest.mark.parametrize(
    "name", ["SVHN_crops", "scenes", "dtd (partial, 1,200 of 5,640)", "SVHN (own folder)", "noise"]
)
def test_a_stand_in_under_a_name_of_its_own_is_fine(name):
    rows.check(row(ood=name, images=17), "here")


def test_the_file_of_the_repository_is_sound():
    found = rows.read()
    assert len(found) >= 72
    keys = [tuple(each[name] for name in rows.KEY) for each in found]
    assert len(set(keys)) == len(keys)
    words = {word for each in found for word in each["command"].split()}
    assert not [word for word in words if word.startswith(("/", "~"))], "a command names a place on one machine"


def test_the_same_again_replaces_its_row_and_keeps_its_experiments():
    old = [row(seed=1, experiment="a"), row(seed=2, experiment="a")]
    merged = rows.merge(old, [row(seed=2, auroc=50, experiment="b"), row(seed=2, score="SSD", K="")])
    assert [(each["seed"], each["score"], each["auroc"], each["experiment"]) for each in merged] == [
        ("1", "KNN", "90.00", "a"),
        ("2", "KNN", "50", "a b"),
        ("2", "SSD", "90.00", ""),
    ]


METRICS = {
    "method": "MCD",
    "arch": "ResNet-18 (width 16)",
    "id_set": "CIFAR-10",
    "epoch": 30,
    "positive": "ID",
    "id_images": 9000,
    "scores": {
        "knn": {
            "score": "KNN (K=100)",
            "ood": {
                "iSUN": {"images": 8033, "fpr95": 0.12345, "auroc": 0.9, "aupr_in": 0.8, "aupr_out": 0.7},
                "scenes": {"images": 3000, "fpr95": 0.5, "auroc": 0.5, "aupr_in": 0.5, "aupr_out": 0.5},
            },
        }
    },
    "id_accuracy": {"knn": 0.987654},
    "geometry_degrees": {"dispersion": 63.25, "compactness": 13.06, "head/dispersion": 100.0},
    "separability_degrees": {"iSUN": 19.96},
    "unlabelled": {"mode": "transductive"},
    "checkpoint": {
        "sha256": "0123456789abcdef0123",
        "trained_with": {
            **{
                "seed": 5,
                "trial": 0,
                "in_dataset": "CIFAR-10",
                "epochs": 30,
                "w": 2.0,
                "cosine": True,
                "sync_bn": True,
            },
            **{"image_size": None, "pretrained": False, "lr_decay_epochs": [10, 20], "checkpoints": "/x", "name": "y"},
            **{"weights": "/home/me/resnet 34.pth", "ood": ["digits-6-9", "mine=/home/me/photos"]},
            **{"start_weights": 64 * "a", "split_lists": 64 * "b", "unlabelled": "transductive"},
        },
    },
    "id_train_images": 10_000,
    "commands": {"train": "python train_mcd.py --seed 5", "evaluate": "python eval_cider.py --name y"},
    "environment": {"gpu": None, "cpu": "x86_64", "torch": "2.12.1", "git": "0123456"},
}


def test_a_metrics_json_becomes_rows(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(METRICS))
    first, second = rows.from_metrics(path, "mine")
    assert first["ood"] == "iSUN (scored part, 8,033 of 8,925)" and second["ood"] == "scenes"
    assert (first["score"], first["K"], first["seed"], first["epochs"]) == ("KNN", "100", "5", "30")
    assert (first["fpr95"], first["id_accuracy_knn"]) == ("12.35", "98.77")
    assert (first["dispersion"], first["compactness"]) == ("63.2", "13.1")
    assert (first["separability"], second["separability"]) == ("20.0", "")
    assert (first["unlabelled"], first["experiment"], first["id_images"]) == ("transductive", "mine", "9000")
    assert first["trained_with"] == (
        "cosine=True lr_decay_epochs=10,20 ood=digits-6-9,mine=photos split_lists=bbbbbbbbbbbb w=2.0 "
        "weights=resnet-34.pth"
    )
    assert first["command"] == "python train_mcd.py --seed 5 && python eval_cider.py --name y"
    rows.write([first, second], tmp_path / "rows.csv")


@pytest.mark.parametrize("official, said", [(True, ""), (False, rows.OTHER_FILES)])
def test_id_files_that_are_not_the_published_ones_are_marked(tmp_path, official, said):
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(METRICS | {"id_files_official": official}))
    found = rows.from_metrics(path)
    assert {each["id_files"] for each in found} == {said}
    text = as_text(by_method(aggregate(found)))
    assert ("~: ID files that are not the published ones" in text) == (not official)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"method": 3}', "[" * 100_000, '{"epoch": Infinity}'])
def test_what_is_no_metrics_json_is_refused(text, tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text(text)
    with pytest.raises(UserError, match="not a metrics.json"):
        rows.from_metrics(path)


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
    assert group.cells["SVHN"]["auroc"] == spread([80, 90])
    assert group.cells["mean (5)"]["auroc"] == spread([82, 92])
    assert group.sets == [*OFFICIAL, "mean (5)"]


def test_no_mean_over_an_incomplete_or_partial_table():
    partial = run(80)
    partial[-1] = row(ood="dtd (partial, 1,200 of 5,640)", images=1200)
    assert "mean (5)" not in aggregate(partial)[0].cells
    one_run_lacks_a_set = [*run(80, seed=1), *run(90, seed=2)[:-1]]
    [group] = aggregate(one_run_lacks_a_set)
    assert "mean (5)" not in group.cells and group.cells["dtd"]["auroc"] == spread([84])


@pytest.mark.parametrize(
    "other",
    [
        {"trained_with": "temp=0.2 w=2.0"},
        {"train_images": 10_000},
        {"id_images": 9_000},
        {"K": 50},
        {"epochs": 499},
        {"architecture": "ResNet-34"},
        {"positive": "OOD"},
        {"unlabelled": "transductive"},
        {"id_files": "other files"},
        {"method": "SupCon"},
    ],
)
def test_runs_with_other_settings_are_never_averaged(other):
    assert [group.runs for group in aggregate([row(seed=1), row(seed=2, **other)])] == [1, 1]


def test_other_images_under_one_name_are_never_averaged():
    [group] = aggregate([row(ood="scenes", images=3000, seed=1), row(ood="scenes", images=3500, seed=2, auroc=50)])
    assert {name: str(cell["auroc"]) for name, cell in group.cells.items() if name != "run"} == {
        "scenes: 3000": "90.00",
        "scenes: 3500": "50.00",
    }


def test_a_run_that_was_repeated_to_the_same_numbers_counts_once():
    again = [each | {"checkpoint_sha256": "another file"} for each in run(80, seed=1)]
    [group] = aggregate([*run(80, seed=1), *again, *run(90, seed=2)])
    assert group.runs == 2
    another_rounding = [each | {"checkpoint_sha256": "another file"} for each in run(81, seed=1)]
    assert aggregate([*run(80, seed=1), *another_rounding])[0].runs == 2


def test_near_and_far_are_means_of_their_own():
    near = [row(ood="CIFAR-100", auroc=50), row(ood="TinyImageNet_crop (origin unverified)", auroc=60)]
    far = [row(ood="dtd (partial, 1,200 of 5,640)", images=1200, auroc=70), row(ood="scenes", images=3000, auroc=1)]
    [group] = aggregate(near + far)
    assert str(group.cells["near (2)"]["auroc"]) == "55.00" and str(group.cells["far (1)"]["auroc"]) == "70.00"
    assert "near" not in " ".join(aggregate(near)[0].cells)


def test_ours_stands_beside_the_published_with_the_difference():
    text = as_text(by_method(aggregate([*run(97, seed=4), *run(98, seed=5)]), PUBLISHED))
    lines = text.splitlines()
    assert "ID is the positive class" in lines[0] and "500 epochs" in lines[0]
    ours, paper = lines[2], next(line for line in lines if "from memory" in line and "published: paper" in line)
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
        ({"architecture": "WRN-40-2"}, False),
        ({"method": "VOS", "epochs": 100}, True),
        ({"method": "MCD", "epochs": 309}, False),
        ({"method": "MCD", "epochs": 310}, True),
        ({"method": "MCD (pre-trained)", "epochs": 100}, False),
        ({"method": "another"}, False),
    ],
)
def test_which_setup_is_the_papers(given, same):
    [group] = aggregate([row(**given)])
    assert same_setup(group.facts, {"architecture": "ResNet-18"}) is same


def test_methods_have_the_names_of_the_papers_tables():
    groups = aggregate(
        [
            row(method="SupCon"),
            row(method="SupCon", score="SSD", K=""),
            row(method="Cross-entropy", score="vim", K="", epochs=200),
            row(method="Cross-entropy", score="maha++", K="", epochs=200),
        ]
    )
    assert labels(groups[:2]) == ["KNN+ (SupCon, K=100)", "SSD+ (SupCon)"]
    assert labels(groups)[2:] == ["ViM (Cross-entropy, 200 epochs)", "Cross-entropy (maha++, 200 epochs)"]


def test_what_two_groups_differ_in_stands_in_their_names():
    groups = aggregate([row(seed=1), row(seed=2, trained_with="temp=0.1 w=1.0"), row(seed=3, method="SupCon")])
    assert labels(groups) == ["CIDER (KNN, K=100, w=2.0)", "CIDER (KNN, K=100, w=1.0)", "KNN+ (SupCon, K=100)"]


def test_who_saw_unlabelled_data_is_marked_in_every_format():
    groups = aggregate(
        [row(method="MCD", score="discrepancy", K="", unlabelled=mode) for mode in ("transductive", "inductive")]
    )
    grid = by_method(groups)
    latex = as_latex(grid).replace(r"$\dagger$", "†").replace(r"$\ddagger$", "‡")
    for text in (as_text(grid), as_markdown(grid), latex):
        assert "MCD (discrepancy) †" in text and "MCD (discrepancy) ‡" in text
        assert "(transductive)" in text and "(inductive)" in text


def test_one_method_on_all_its_sets():
    text = as_text(by_set(aggregate([*run(80, seed=1, id_accuracy_knn=94), *run(90, seed=2, id_accuracy_knn=95)])[0]))
    assert "2 runs" in text and "ID accuracy by KNN: 94.50 ± 0.71 %" in text
    assert text.splitlines()[2].split() == "SVHN 10.00 ± 0.00 85.00 ± 7.07 80.00 ± 0.00".split()
