"""Rows of results/: what is refused, what replaces what, and how an evaluation becomes rows."""

import fcntl
import hashlib
import json
import math
import os
from dataclasses import fields, replace

import pytest

from tests.result_rows import cells, row
from utils.errors import UserError
from utils.evaluation.grid import as_text
from utils.results import published, rows
from utils.results.aggregate import aggregate
from utils.results.tables import by_method

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
