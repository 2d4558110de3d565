"""Rows of results/: what is refused, what replaces what, what is averaged, and how it stands beside the published."""

import fcntl
import hashlib
import json
import math
import os
from dataclasses import fields, replace

import pytest

from tests.result_rows import OFFICIAL, cells, openood_run, row, run
from utils.errors import UserError
from utils.evaluation.grid import as_latex, as_markdown, as_text
from utils.results import published, rows
from utils.results.aggregate import Spread, aggregate, columns_of, spread
from utils.results.tables import by_method, counterparts, labels, same_setup

PUBLISHED = published.lines()


def test_rows_come_back_as_they_were_written(tmp_path):
    written = [row(), row(ood="dtd (partial, 1,200 of 5,640)", images=1200, unlabelled="inductive")]
    rows.write(written, tmp_path / "rows.csv")
    assert rows.read(tmp_path / "rows.csv") == written
    assert rows.read(tmp_path / "none.csv") == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ood": "dtd", "images": 1200}, "official name dtd, which has 5,640"),
        ({"ood": "Textures", "images": 1200}, "official name Textures"),
        ({"ood": "SVHN", "images": 10000, "benchmark": "openood"}, "official name SVHN, which has 26,032"),
        ({"ood": "SVHN", "images": 26032}, "official name SVHN"),
        ({"auroc": "101"}, "not a percentage"),
        ({"auroc": "nan"}, "auroc is nan, not a number"),
        ({"auroc": "inf"}, "auroc is inf, not a number"),
        ({"dispersion": "1e3"}, "dispersion is 1e3, not a number"),
        ({"images": "1e4"}, "images is 1e4, not a whole number"),
        ({"images": "10000.0"}, "images is 10000.0, not a whole number"),
        ({"id_images": "nan"}, "id_images is nan, not a whole number"),
        ({"train_images": "9" * 5000}, "train_images is 9+, not a whole number"),
        ({"seed": "four"}, "seed is four, not a whole number"),
        ({"benchmark": "mine"}, "benchmark is mine"),
        ({"fpr95": "-1"}, "not a percentage"),
        ({"aupr_in": "good"}, "not a number"),
        ({"positive": "both"}, "positive is both"),
        ({"date": ""}, "date is empty"),
        ({"images": "many"}, "not a whole number"),
        ({"id_accuracy_probe": "100.5"}, "id_accuracy_probe is 100.5, not a percentage"),
    ],
)
def test_a_row_that_must_not_stand_there_is_refused_on_reading(given, said, tmp_path):
    path = tmp_path / "rows.csv"
    rows.write([row()], path)
    before = path.read_text()
    bad = {**cells(), **{name: "" for name in given}, **given}
    path.write_text(before + ",".join(f'"{value}"' for value in bad.values()) + "\n")
    with pytest.raises(UserError, match=f"rows.csv, row 3: .*{said}"):
        rows.read(path)


HEADING = ",".join(column.name for column in fields(rows.Row))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "unknown or missing: K, arch, "),
        ("method,fpr95\nCIDER,3\n", "unknown or missing: K, arch, "),
        (HEADING.replace(",K,", ",k,") + "\n", "unknown or missing: K, k$"),
        (f"{HEADING}\n{','.join(cells().values())},more\n", "row 2: another number of cells"),
        (f"{HEADING}\ncider,resnet18\n", "row 2: another number of cells"),
        (f"{HEADING}\n{'x' * 200_000}\n", "can not be read"),
        (b"\xff\xfe\x00", "can not be read"),
    ],
)
def test_a_file_that_is_no_such_table_is_one_line(text, said, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=said) as found:
        rows.read(path)
    assert str(found.value).startswith(str(path)) and len(str(found.value).splitlines()) == 1


def test_a_table_that_can_not_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="rows.csv can not be written: "):
        rows.write([row()], tmp_path / "file" / "rows.csv")


def test_a_byte_order_mark_is_read_over(tmp_path):
    rows.write([row()], tmp_path / "rows.csv")
    marked = b"\xef\xbb\xbf" + (tmp_path / "rows.csv").read_bytes()
    (tmp_path / "rows.csv").write_bytes(marked)
    assert rows.read(tmp_path / "rows.csv") == [row()]


@pytest.mark.parametrize(
    "name", ["SVHN_crops", "scenes", "dtd (partial, 1,200 of 5,640)", "SVHN (own folder)", "noise"]
)
def test_a_stand_in_under_a_name_of_its_own_is_fine(name):
    row(images=17, ood=name).check("here")


def test_the_file_of_the_repository_is_sound():
    found = rows.read()
    assert len(found) >= 72
    assert len({each.key for each in found}) == len(found)
    words = {word for each in found for word in each.command.split()}
    assert not [word for word in words if word.startswith(("/", "~"))], "a command names a place on one machine"


def test_rows_are_gathered_by_one_process_at_a_time(tmp_path, monkeypatch):
    merge = rows.merge

    def merge_alone(old, new):
        handle = os.open(tmp_path, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(handle)
        return merge(old, new)

    monkeypatch.setattr(rows, "merge", merge_alone)
    for seed in (1, 2):
        rows.gather([row(seed=seed)], tmp_path / "rows.csv")
    assert [each.seed for each in rows.read(tmp_path / "rows.csv")] == [1, 2]
    monkeypatch.setattr(rows, "merge", merge)
    rows.gather([row()], tmp_path / "new" / "rows.csv")  # in a folder that is not there yet


def test_the_same_again_replaces_its_row_and_keeps_its_experiments():
    old = [row(seed=1, experiment="a"), row(seed=2, experiment="a")]
    new = [row(seed=2, auroc=50, experiment="b"), row(seed=2, score="ssd", K="")]
    elsewhere = replace(row(seed=2), benchmark="odin")
    merged = rows.merge(old, [*new, elsewhere])
    assert [(each.seed, each.score, str(each.auroc), each.benchmark, each.experiment) for each in merged] == [
        (1, "knn", "90.00", "cider", "a"),
        (2, "knn", "50", "cider", "a b"),
        (2, "ssd", "90.00", "cider", ""),
        (2, "knn", "90.00", "odin", ""),
    ]


METRICS = {
    "id_set": "CIFAR-10",
    "benchmark": "cider",
    "id_files_official": True,
    "epoch": 30,
    "positive": "ID",
    "id_images": 9000,
    "scores": {
        "knn": {
            "score": "KNN (K=100)",
            "k": 100,
            "ood": {
                "iSUN (scored part, 8,033 of 8,925)": {
                    "images": 8033,
                    "set": "iSUN",
                    "fpr95": 0.12345,
                    "auroc": 0.9,
                    "aupr_in": 0.8,
                    "aupr_out": 0.7,
                },
                "scenes": {"images": 3000, "set": None, "fpr95": 0.5, "auroc": 0.5, "aupr_in": 0.5, "aupr_out": 0.5},
            },
        }
    },
    "id_accuracy": {"knn": 0.987654, "linear_probe": 0.98543},
    "geometry_degrees": {"dispersion": 63.25, "compactness": 13.06, "head/dispersion": 100.0},
    "separability_degrees": {"iSUN (scored part, 8,033 of 8,925)": 19.96},
    "unlabelled": {"mode": "transductive"},
    "checkpoint": {
        "sha256": "0123456789abcdef0123",
        "method": "mcd",
        "model": {"arch": "resnet18", "width": 16},
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
    (tmp_path / "scores.npz").write_bytes(b"scores")
    first, second = rows.from_metrics(path, "mine")
    assert first.ood == "iSUN (scored part, 8,033 of 8,925)" and second.ood == "scenes"
    assert (first.set, second.set, first.benchmark) == ("iSUN", "", "cider")
    assert (first.method, first.arch, first.width) == ("mcd", "resnet18", 16)
    assert (first.score, first.K, first.seed, first.epochs) == ("knn", 100, 5, 30)
    assert (str(first.fpr95), str(first.id_accuracy_knn), str(first.id_accuracy_probe)) == ("12.35", "98.77", "98.54")
    assert (str(first.dispersion), str(first.compactness)) == ("63.2", "13.1")
    assert (str(first.separability), second.separability) == ("20.0", None)
    assert (first.unlabelled, first.experiment, first.id_images) == ("transductive", "mine", 9000)
    assert first.trained_with == (
        "cosine=True lr_decay_epochs=10,20 ood=digits-6-9,mine=photos split_lists=bbbbbbbbbbbb w=2.0 "
        "weights=resnet-34.pth"
    )
    assert first.command == "python train_mcd.py --seed 5 && python eval_cider.py --name y"
    assert first.scores_sha256 == hashlib.sha256(b"scores").hexdigest()
    rows.write([first, second], tmp_path / "rows.csv")
    assert rows.read(tmp_path / "rows.csv") == [first, second]


def test_the_benchmark_of_an_evaluation_is_in_its_rows(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(METRICS | {"benchmark": "openood", "positive": "OOD"}))
    assert {(each.benchmark, each.positive) for each in rows.from_metrics(path)} == {("openood", "OOD")}


@pytest.mark.parametrize("official, said", [(True, ""), (False, rows.OTHER_FILES)])
def test_id_files_that_are_not_the_published_ones_are_marked(tmp_path, official, said):
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(METRICS | {"id_files_official": official}))
    found = rows.from_metrics(path)
    assert {each.id_files for each in found} == {said}
    text = as_text(by_method(aggregate(found)))
    assert ("~: ID files that are not the published ones" in text) == (not official)


def changed(**given):
    return json.dumps(METRICS | given)


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", '{"method": 3}', "[" * 100_000, "\0", "{", '{"epoch": Infinity}'),
        changed(epoch="thirty"),
        changed(epoch=None),
        changed(id_images=True),
        changed(id_images=1e300),
        changed(id_accuracy={"knn": math.inf}),
        changed(geometry_degrees={"dispersion": math.nan}),
        changed(scores={"knn": {"k": 1, "ood": {"x": {}}}}),
        changed(scores={"knn": []}),
        changed(positive=["ID"]),
        changed(benchmark="mine"),
        json.dumps({key: value for key, value in METRICS.items() if key != "id_files_official"}),
        changed(environment=None),
    ],
)
def test_what_is_no_metrics_json_is_refused(text, tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text(text)
    with pytest.raises(UserError) as found:
        rows.from_metrics(path)
    assert str(found.value).startswith(str(path)) and len(str(found.value)) < 600


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
