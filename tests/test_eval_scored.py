"""Evaluations of a part of the images: MCD by its own lists, others by --scored; marks, footnotes, the discrepancy."""

import csv
import json

import numpy as np
import pytest
import torch

from models.mcd import MCDNet
from tests.checkpoint_files import write_checkpoint
from tests.data_files import write_images
from utils.checkpoint import load_checkpoint, official_format, save
from utils.data.id_records import ID_SETS
from utils.data.id_sets import load_id
from utils.data.ood_sets import load_ood
from utils.data.splits import Split, as_plain, save_split, split_set
from utils.evaluation.features import extract
from utils.evaluation.scored import usual_ood_sets
from utils.evaluation.scores import discrepancy_score

MARKS = {"transductive": "†", "inductive": "‡"}


def make_split(mode, choice=50, seed=0, ood="digits-6-9"):
    data = load_id("digits")
    sets = data.test, load_ood(ood, data)
    parts = [split_set(len(each), mode, choice=choice, seed=seed, fingerprint=each.fingerprint) for each in sets]
    return Split(mode, seed, "digits", parts[0], {sets[1].name: parts[1]})


def mcd_checkpoint(folder, split, method="mcd"):
    torch.manual_seed(0)
    model = MCDNet("resnet18", 6, width=8)
    args = {"in_dataset": "digits", "limit_train": 60, "seed": 0, "ood": ["digits-6-9"]}
    content = official_format(model, None, method=method, epoch=3, args=args, class_names=tuple("012345"))
    if split is not None:
        content["unlabelled"] = {
            "mode": split.mode, "ood": list(split.ood), "choice": "how it was chosen", "split": as_plain(split),
        }  # fmt: skip
    save(content, folder / "checkpoint_3.pth.tar")
    return folder / "checkpoint_3.pth.tar"


@pytest.fixture
def cider_checkpoint(tmp_path):
    return write_checkpoint(tmp_path / "cider.pth.tar", epoch=3, in_dataset="digits", limit_train=60, seed=0)


@pytest.mark.parametrize("mode", MARKS)
def test_an_mcd_checkpoint_is_scored_by_its_own_lists_and_marked_everywhere(mode, run_eval, tmp_path):
    split = make_split(mode)
    path = mcd_checkpoint(tmp_path, split)
    drawn = ("--projection", "none") if mode == "transductive" else ("--no-plots",)
    status, printed, err = run_eval("--ckpt", path, "--out", tmp_path / "out", *drawn)
    assert status == 0, err
    ids, oods = len(split.id.scored), len(split.ood["digits-6-9"].scored)
    assert (ids, oods) == ((164, 664) if mode == "transductive" else (82, 332))
    mark = MARKS[mode]
    name = f"digits-6-9 (scored part, {oods} of 714)"
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert found["unlabelled"] == {"mode": mode, "ood": ["digits-6-9"], "choice": "how it was chosen"}
    assert found["scored"]["id"] == [ids, 214] and found["scored"]["ood"] == {"digits-6-9": [oods, 714]}
    assert (found["method"], found["id_images"]) == ("MCD", ids)
    # The set in the mix comes first, though nobody named it; the others are whole.
    assert list(found["ood"]) == [name, "photographs", "uniform-noise", "gaussian-noise"]
    assert [row["images"] for row in found["ood"].values()] == [oods, 214, 214, 214]
    assert not found["ood"][name]["official"] and name not in found["mean"]["sets"]
    assert found["id_accuracy"].keys() == {"knn", "nearest_prototype", "head1", "head2"}

    footnote = f"{mark} {mode}: fine-tuned on unlabelled images of ID test and digits-6-9"
    text = (tmp_path / "out" / "table.txt").read_text()
    assert text.startswith(f"MCD {mark}  ResNet-18 (width 8)") and f"{name} {mark} " in text and footnote in text
    assert text.count(mark) == 3 and "score: discrepancy" in text
    assert printed.startswith(text)
    markdown = (tmp_path / "out" / "table.md").read_text()
    assert f"| {name} {mark} |" in markdown and f"* {footnote}" in markdown
    latex = (tmp_path / "out" / "table.tex").read_text()
    symbol = {"†": r"$\dagger$", "‡": r"$\ddagger$"}[mark]
    assert mark not in latex and latex.count(symbol) == 3
    with open(tmp_path / "out" / "table.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["method"] for row in rows} == {f"MCD {mark}"} and all(footnote in row["note"] for row in rows)
    assert rows[0]["ood_set"] == f"{name} {mark}" and rows[1]["ood_set"] == "photographs"
    assert (tmp_path / "out" / "discrepancy.png").exists() == (mode == "transductive")


def test_the_scores_are_those_of_the_listed_images(run_eval, tmp_path):
    split = make_split("inductive")
    path = mcd_checkpoint(tmp_path, split)
    assert run_eval("--ckpt", path, "--out", tmp_path, "--no-plots", "--ood-sets", "digits-6-9")[0] == 0
    arrays = np.load(tmp_path / "scores.npz")
    data = load_id("digits", limit_train=60)
    model = load_checkpoint(path).model
    for images, part, name in (
        (data.test, split.id, "id"),
        (load_ood("digits-6-9", data), split.ood["digits-6-9"], "ood/digits-6-9 (scored part, 332 of 714)"),
    ):
        outputs = extract(model, images, mean=data.mean, std=data.std, device="cpu").outputs
        expected = discrepancy_score(outputs["logits"], outputs["logits2"])[list(part.scored)]
        np.testing.assert_allclose(arrays[name], expected, rtol=1e-4, atol=1e-6)


def test_other_methods_are_scored_on_the_same_images(run_eval, cider_checkpoint, tmp_path):
    split = make_split("inductive")
    save_split(tmp_path / "split.json", split)
    path = mcd_checkpoint(tmp_path, split)
    common = ("--ood-sets", "digits-6-9", "photographs", "--no-plots", "--K", "3")
    wanted = ("--scored", tmp_path / "split.json")
    status, printed, err = run_eval("--ckpt", cider_checkpoint, *wanted, *common, "--out", tmp_path / "a")
    assert status == 0, err
    assert run_eval("--ckpt", path, *common, "--score", "knn", "--out", tmp_path / "b")[0] == 0
    one, other = (json.loads((tmp_path / folder / "metrics.json").read_text()) for folder in "ab")
    assert one["unlabelled"] is None and other["unlabelled"]["mode"] == "inductive"
    assert {key: one["scored"][key] for key in ("id", "ood")} == {key: other["scored"][key] for key in ("id", "ood")}
    assert one["scored"]["list"] == str(tmp_path / "split.json") and other["scored"]["list"] == "of the checkpoint"
    assert one["ood"].keys() == other["ood"].keys()
    assert "scored: 82 of 214 of ID test, 332 of 714 of digits-6-9; other OOD sets whole" in printed
    assert not any(mark in printed for mark in MARKS.values())
    everything = run_eval("--ckpt", cider_checkpoint, *common, "--out", tmp_path / "c")
    assert everything[0] == 0 and json.loads((tmp_path / "c" / "metrics.json").read_text())["scored"] is None


def test_a_list_may_only_narrow_what_the_training_left(run_eval, tmp_path):
    save_split(tmp_path / "inductive.json", make_split("inductive"))
    save_split(tmp_path / "transductive.json", make_split("transductive"))
    for mode, other, status in (("transductive", "inductive", 0), ("inductive", "transductive", 1)):
        (tmp_path / mode).mkdir()
        path = mcd_checkpoint(tmp_path / mode, make_split(mode))
        done, _, err = run_eval(
            "--ckpt", path, "--scored", tmp_path / f"{other}.json", "--ood-sets", "digits-6-9", "--no-plots"
        )
        assert done == status, err
        if status:
            assert "would score images of ID test that this checkpoint has seen" in err
        else:
            found = json.loads((tmp_path / mode / "eval_3" / "metrics.json").read_text())
            assert found["id_images"] == 82 and found["unlabelled"]["mode"] == "transductive"


def test_lists_of_other_images_are_refused(run_eval, cider_checkpoint, tmp_path):
    save_split(tmp_path / "split.json", make_split("inductive", ood="gaussian-noise"))
    common = ("--ckpt", cider_checkpoint, "--scored", tmp_path / "split.json", "--ood-sets", "gaussian-noise")
    assert run_eval(*common, "--no-plots", "--out", tmp_path / "out")[0] == 0
    status, _, err = run_eval(*common, "--seed", "1")
    assert status == 1 and "the list of scored images is of another gaussian-noise" in err and "--seed 0" in err
    status, _, err = run_eval("--ckpt", cider_checkpoint, "--scored", tmp_path / "none.json")
    assert status == 1 and "list of images not found" in err


def test_an_mcd_file_that_does_not_say_what_it_has_seen_is_marked_too(run_eval, tmp_path):
    path = mcd_checkpoint(tmp_path, None)
    status, printed, err = run_eval("--ckpt", path, "--ood-sets", "photographs", "--no-plots")
    assert status == 0, err
    assert printed.startswith("MCD ?") and "the file does not say which" in printed
    found = json.loads((tmp_path / "eval_3" / "metrics.json").read_text())
    assert found["unlabelled"]["mode"] == "unknown" and found["scored"] is None


def test_the_pre_training_alone_has_seen_nothing(run_eval, tmp_path):
    path = mcd_checkpoint(tmp_path, None, method="mcd-pretrain")
    scores = ("--score", "discrepancy", "energy", "msp", "knn")
    status, printed, err = run_eval("--ckpt", path, *scores, "--ood-sets", "photographs", "--no-plots")
    assert status == 0, err
    assert printed.startswith("MCD (pre-trained)  ") and not any(mark in printed for mark in MARKS.values())
    found = json.loads((tmp_path / "eval_3" / "metrics.json").read_text())
    assert found["unlabelled"] is None and set(found["scores"]) == {"discrepancy", "energy", "msp", "knn"}


def test_a_damaged_list_in_a_checkpoint_is_one_message(run_eval, tmp_path):
    split = as_plain(make_split("inductive"))
    split["id"]["scored"] = split["id"]["unlabelled"]
    path = mcd_checkpoint(tmp_path, make_split("inductive"))
    content = torch.load(path, weights_only=True)
    content["unlabelled"]["split"] = split
    torch.save(content, tmp_path / "checkpoint_4.pth.tar")
    status, _, err = run_eval("--ckpt", tmp_path / "checkpoint_4.pth.tar", "--ood-sets", "photographs")
    assert status == 1 and "lists of unlabelled images are not usable" in err


def test_sets_of_the_mix_come_first_and_once(tmp_path):
    found = load_checkpoint(mcd_checkpoint(tmp_path, make_split("inductive")))
    found.args["ood"] = ["lsun-crop", "mine=photos"]
    assert usual_ood_sets(found, ID_SETS["CIFAR-10"].ood) == [
        "lsun-crop",
        "mine=photos",
        "SVHN",
        "places365",
        "iSUN",
        "dtd",
    ]


def test_detect_scores_with_the_discrepancy(run_eval, tmp_path, monkeypatch):
    from utils.detection.detector import load_detector

    split = make_split("inductive")
    path = mcd_checkpoint(tmp_path, split)
    assert run_eval("--ckpt", path, "--ood-sets", "digits-6-9", "--no-plots")[0] == 0
    detector = load_detector(path, device="cpu")
    assert detector.reference.score == "discrepancy" and len(detector.id_scores) == 82
    write_images(tmp_path / "photos", 2)
    scores = detector.score(sorted((tmp_path / "photos").iterdir()))
    assert scores.shape == (2,) and ((-2 <= scores) & (scores <= 0)).all()
    test = load_id("digits").test
    found = detector.score(test.images[list(split.id.scored)])
    torch.testing.assert_close(found, detector.id_scores, rtol=1e-4, atol=1e-6)
