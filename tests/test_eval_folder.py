"""The folder of an evaluation: tried first, kept from other evaluations, rid of pictures that no longer belong."""

import errno
import json
import shutil
import sys

import pytest
import torch

import eval_cider
from tests.checkpoint_files import write_checkpoint
from utils.checkpoint import save
from utils.errors import UserError

FAST = ("--ood-sets", "photographs", "--no-plots", "--K", "3")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint, and the features of its evaluation in its cache."""
    path = tmp_path_factory.mktemp("run") / "checkpoint_3.pth.tar"
    return write_checkpoint(path, epoch=3, in_dataset="digits", limit_train=60, seed=0)


def settings(folder):
    return json.loads((folder / "metrics.json").read_text())["settings"]


def test_another_evaluation_goes_to_another_folder(run_eval, trained, tmp_path):
    out = tmp_path / "out"
    assert run_eval("--ckpt", trained, *FAST, "--out", out)[0] == 0
    before = (out / "metrics.json").read_bytes()
    status, printed, _ = run_eval("--ckpt", trained, *FAST[:-1], "4", "--out", out)
    assert status == 0 and f"Written to {out}_2:" in printed
    assert (out / "metrics.json").read_bytes() == before
    assert settings(tmp_path / "out_2")["K"] == 4
    # The same again, and only it, takes the same place; other weights never do.
    assert f"Written to {out}_2:" in run_eval("--ckpt", trained, *FAST[:-1], "4", "--out", out)[1]
    assert f"Written to {out}:" in run_eval("--ckpt", trained, *FAST, "--out", out)[1]
    other = shutil.copy(trained, tmp_path / "checkpoint_3.pth.tar")
    content = torch.load(other, weights_only=True)
    content["epoch"] = 4
    save(content, tmp_path / "checkpoint_4.pth.tar")
    assert f"Written to {out}_3:" in run_eval("--ckpt", tmp_path / "checkpoint_4.pth.tar", *FAST, "--out", out)[1]
    done = run_eval("--ckpt", trained, *FAST[:-1], "5", "--out", out, "--overwrite")
    assert done[0] == 0 and f"Written to {out}:" in done[1] and settings(out)["K"] == 5


def test_an_evaluation_that_finishes_meanwhile_keeps_its_folder(run_eval, trained, tmp_path, monkeypatch):
    out, others = tmp_path / "out", '{"settings": {"command": "another"}}'
    load_images = eval_cider.load_images

    def while_another_finishes(*args):
        out.mkdir()
        (out / "metrics.json").write_text(others)
        return load_images(*args)

    monkeypatch.setattr(eval_cider, "load_images", while_another_finishes)
    assert f"Written to {out}_2:" in run_eval("--ckpt", trained, *FAST, "--out", out)[1]
    assert (out / "metrics.json").read_text() == others and list(out.iterdir()) == [out / "metrics.json"]


def test_a_folder_with_other_things_or_a_damaged_file_loses_nothing(run_eval, trained, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    (out / "metrics.json").write_text("{")
    assert f"Written to {out}_2:" in run_eval("--ckpt", trained, *FAST, "--out", out)[1]
    assert (out / "metrics.json").read_text() == "{" and (out / "notes.txt").read_text() == "mine"


def test_pictures_that_no_longer_belong_are_removed(run_eval, trained, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    for name in ("features_tsne.png", "features_tsne.pdf", "discrepancy.png", "roc.png", "my_own.png"):
        (out / name).write_text("old")
    assert run_eval("--ckpt", trained, *FAST, "--out", out)[0] == 0
    assert [path.name for path in out.glob("*.p*")] == ["my_own.png"]


def test_what_is_cut_short_has_no_metrics_by_which_it_counts_as_done(run_eval, trained, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(eval_cider.report, "write_tables", full)
    status, _, err = run_eval("--ckpt", trained, *FAST, "--out", tmp_path / "out")
    assert status == 1 and "No space left on device" in err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["scores.npz"]


@pytest.mark.parametrize("wanted", ["file/out", "file"])
def test_a_place_that_can_not_be_written_is_said_before_anything_slow(wanted, run_eval, trained, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(eval_cider, "load_images", None)  # nothing is read
    status, _, err = run_eval("--ckpt", trained, *FAST, "--out", tmp_path / wanted)
    assert status == 1 and "the results could not be written" in err and "pass --out DIR" in err
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_checkpoint_in_a_folder_that_can_not_be_written(run_eval, trained, tmp_path, monkeypatch):

    def refuse(folder):
        raise UserError(f"nothing can be written to {folder}: Read-only file system")

    monkeypatch.setattr(eval_cider, "require_writable", refuse)
    path = tmp_path / "there" / "checkpoint_3.pth.tar"
    path.parent.mkdir()
    shutil.copy(trained, path)
    status, _, err = run_eval("--ckpt", path, *FAST, "--out", tmp_path / "out")
    assert status == 0 and err.count("Read-only file system") == 1 and "detect.py" in err
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_collapsed_network_is_said_with_the_table_after_it_and_in_the_file(run_eval, trained, tmp_path):
    content = torch.load(trained, weights_only=True) | {"dis_state_dict": {"prototypes": torch.ones(6, 128) / 128**0.5}}
    save(content, tmp_path / "checkpoint_3.pth.tar")
    _, printed, err = run_eval("--ckpt", tmp_path / "checkpoint_3.pth.tar", *FAST)
    fault = json.loads((tmp_path / "eval_3" / "metrics.json").read_text())["collapsed"]
    assert "6 of 6 classes share their prototype" in fault
    assert f"\nTHIS NETWORK HAS COLLAPSED: {fault}\n" in printed and f"THIS NETWORK HAS COLLAPSED: {fault}" in err
    assert run_eval("--ckpt", trained, *FAST, "--out", tmp_path / "fine")[0] == 0
    assert json.loads((tmp_path / "fine" / "metrics.json").read_text())["collapsed"] is None


def test_a_terminal_shows_what_is_being_done_from_the_start(run_eval, trained, tmp_path, monkeypatch):
    assert run_eval("--ckpt", trained, *FAST, "--no-cache", "--out", tmp_path / "quiet")[2] == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    wanted = (*FAST, "--no-cache", "--linear-probe", "augmented", "--bootstrap", "5")
    monkeypatch.setattr("utils.evaluation.linear_probe.EPOCHS", 2)
    _, out, err = run_eval("--ckpt", trained, *wanted, "--out", tmp_path / "out")
    told = [
        "SupCon, epoch 3",
        "reading the images",
        "digits train:",
        "photographs:",
        "scores:",
        "linear probe:",
        "writing",
    ]
    places = [err.index(text) for text in told]
    assert places == sorted(places) and not any(text in out for text in told[1:])
