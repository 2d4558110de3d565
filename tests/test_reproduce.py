"""Reproducing the papers' tables: what is planned, done, skipped and gathered, and which data is said to be missing."""

import argparse
import csv
import json
import sys

import pytest

from scripts import experiments
from tests.commands import REPOSITORY, here, shell
from tests.data_files import write_cifar10, write_images
from utils.evaluation.registry import SCORES
from utils.files import file_sha256, portable
from utils.results import plan, rows


@pytest.fixture
def planned(monkeypatch):
    """The steps that a command line asks for, none of which is done."""

    def call(*command_line):
        monkeypatch.setattr(sys, "argv", ["experiments.py", "reproduce", "--in-dataset", *command_line])
        experiment, args = experiments.parse_arguments()
        return experiment.steps(args)

    return call


@pytest.fixture
def small(tmp_path, monkeypatch):
    """The command line of small runs of everything, in this process; `small.ran` names the scripts that were run."""
    write_cifar10(tmp_path / "cifar", 40)
    write_images(tmp_path / "ood" / "dtd" / "images", 12)
    ran = []

    def run_here(command):
        ran.append(command[0])
        assert here(*command).returncode == 0

    def call(*more):
        train = "--width 8 --epochs 1 --warmup none --limit-train 200 --device cpu"
        train += f" --id_loc {tmp_path}/cifar --checkpoints {tmp_path}"
        command = ["CIFAR-10", "4", "--ood_loc", tmp_path / "ood", *more, "--", *train.split()]
        monkeypatch.setattr(sys, "argv", ["experiments.py", "reproduce", "--in-dataset", *map(str, command)])
        experiments.main()

    monkeypatch.setattr(plan, "_run", run_here)
    monkeypatch.setattr(rows, "MEASURED", tmp_path / "measured.csv")
    call.ran = ran
    return call


def test_everything_in_small_and_then_nothing_twice(small, tmp_path, capsys):
    small("--csv", tmp_path / "own.csv")
    assert small.ran == ["train_cider.py", "eval_cider.py"] * 3
    with open(tmp_path / "own.csv", newline="") as stream:
        found = list(csv.DictReader(stream))
    assert [(row["method"], row["score"]) for row in found] == [
        ("cider", "knn"),
        *(("supcon", score) for score in ("knn", "ssd")),
        *(("ce", score) for score in ("msp", "odin", "energy", "maha", "vim")),
    ]
    assert {(row["benchmark"], row["ood"], row["set"]) for row in found} == {
        ("cider", "dtd (partial, 12 of 5,640)", "dtd")
    }
    assert {row["experiment"] for row in found} == {""}
    assert found[0]["command"].startswith(
        "python train_cider.py --in-dataset CIFAR-10 --seed 4 --limit-train 200 --width 8 --epochs 1"
    )
    text = capsys.readouterr().out
    table = text[text.index("8 rows gathered") :]
    for line in ("CIDER (KNN, K=100)", "KNN+ (SupCon, K=100)", "SSD+ (SupCon)", "ODIN (Cross-entropy)"):
        assert line in table
    assert "published:" in table and "CIDER (paper, KNN" in table

    small.ran.clear()
    small()
    assert small.ran == []
    text = capsys.readouterr().out
    assert "Not gathered" in text and "SSD+ (SupCon)" in text and not rows.MEASURED.exists()

    write_images(tmp_path / "ood" / "iSUN", 12)
    small("--methods", "cider")
    assert small.ran == ["eval_cider.py"] and "iSUN (partial, 12 of 8,925)" in capsys.readouterr().out


def test_an_evaluation_that_missed_a_set_is_done_again_when_the_set_is_there(tmp_path):
    checkpoint = tmp_path / "checkpoint_1.pth.tar"
    checkpoint.write_bytes(b"weights")
    usual = {"benchmark": "cider", "ood_loc": portable(tmp_path)}
    found = {"checkpoint": {"sha256": file_sha256(checkpoint)}, "settings": usual, "missing": {"SVHN": "not found"}}
    (tmp_path / "metrics.json").write_text(json.dumps(found))
    args = argparse.Namespace(in_dataset="CIFAR-10")
    step = plan.Step("", ("x",), args, checkpoint, usual | {"ood_loc": tmp_path}, tmp_path)
    assert step.is_evaluated()
    for name, is_done in (("dtd", True), ("SVHN", False)):
        (tmp_path / name).mkdir()
        assert step.is_evaluated() is is_done


def test_a_set_that_openood_reads_from_elsewhere_may_be_missing_from_a_done_evaluation(tmp_path):
    """OpenOOD's places365 are the validation images of Places365, and the set of CIDER's table does not stand in."""
    checkpoint = tmp_path / "checkpoint_1.pth.tar"
    checkpoint.write_bytes(b"weights")
    usual = {"benchmark": "openood", "ood_loc": portable(tmp_path)}
    missing = {"MNIST": "not found", "Places365-val": "not found"}
    found = {"checkpoint": {"sha256": file_sha256(checkpoint)}, "settings": usual, "missing": missing}
    (tmp_path / "metrics.json").write_text(json.dumps(found))
    args = argparse.Namespace(in_dataset="CIFAR-10")
    step = plan.Step("", ("x",), args, checkpoint, usual | {"ood_loc": tmp_path}, tmp_path)
    for name, is_done in (("places365", True), ("places365_val", False)):
        (tmp_path / name).mkdir()
        assert step.is_evaluated() is is_done


@pytest.mark.parametrize(
    ("options", "full"),
    [
        ("", True),
        ("--amp bf16 --channels-last --compile --print-freq 5", True),
        ("--epochs 100", False),
        ("--width 32", False),
        ("--limit-train 40000", False),
    ],
)
def test_only_runs_with_the_papers_settings_count_as_full(options, full, planned):
    steps = planned("CIFAR-10", "4", "--", *options.split())
    assert [step.experiment for step in steps] == ["paper" if full else ""] * 3


def test_the_plan_has_every_method_with_every_seed_and_shares_the_usual_run_folders(planned):
    found = planned("CIFAR-100", "7", "8", "--methods", "cider", "vos")
    assert [(step.train[0], step.args.seed, step.args.model, step.args.epochs) for step in found] == [
        ("train_cider.py", 7, "resnet34", 500),
        ("train_vos.py", 7, "resnet34", 100),
        ("train_cider.py", 8, "resnet34", 500),
        ("train_vos.py", 8, "resnet34", 100),
    ]
    folder = REPOSITORY / "checkpoints" / "CIFAR-100" / "cider_resnet34_seed7_trial0"
    assert found[0].checkpoint == folder / "checkpoint_500.pth.tar"
    assert found[0].out == folder / "eval_500_plan"  # and not eval_500, where evaluations by hand go


def test_ood_sets_that_are_named_are_passed_on_and_make_another_evaluation(planned):
    [step] = planned("CIFAR-10", "4", "--methods", "cider", "--ood-sets", "CIFAR-100", "x=y")
    assert " ".join(step.commands()[-1]).endswith(" --ood-sets CIFAR-100 x=y")
    assert step.evaluation["ood_sets"] == ["CIFAR-100", "x=y"] and not step.absent_sets()


def test_seeds_come_from_the_command_line_or_are_the_official_one_and_the_next(planned):
    for given, seeds in (("CIFAR-10",), [4, 5, 6]), (("CIFAR-100",), [7, 8, 9]), (("CIFAR-10", "9", "9"), [9]):
        assert [step.args.seed for step in planned(*given, "--methods", "ce")] == seeds


def test_every_score_is_one_of_the_registry():
    assert {score for _, _, scores in experiments.METHODS.values() for score in scores} <= SCORES.keys()


def test_a_dry_run_prints_commands_and_what_is_missing_and_does_nothing(tmp_path):
    nowhere = ("--id_loc", tmp_path / "none", "--checkpoints", tmp_path)
    done = shell("reproduce_cifar10.sh", "4", "--dry-run", "--ood_loc", tmp_path / "none", "--", *nowhere)
    assert done.returncode == 0, done.stderr
    assert "python train_cider.py --in-dataset CIFAR-10 --loss supcon --seed 4" in done.stdout
    assert "--score msp odin energy maha vim" in done.stdout
    assert "missing: CIFAR-10 not found." in done.stdout and "missing OOD sets: SVHN, " in done.stdout
    assert not list(tmp_path.iterdir())


def test_a_failure_says_how_to_go_on(tmp_path):
    done = shell("reproduce_cifar10.sh", "4", "--", "--id_loc", tmp_path / "none", "--checkpoints", tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "CIFAR-10 not found" in done.stderr and "train_cider.py --in-dataset CIFAR-10 --seed 4" in done.stderr
    assert "give the same command again" in done.stderr


def test_id_sets_without_a_paper_are_refused(planned, capsys):
    with pytest.raises(SystemExit) as ended:
        planned("digits")
    assert ended.value.code == 2 and "choose from 'CIFAR-10', 'CIFAR-100', 'ImageNet-100'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [("--", "--name", "x"), ("--", "--in_dataset=digits"), ("four",), ("--methods", "csi"), ("--", "--bogus")],
)
def test_wrong_usage_ends_before_anything_starts(options, planned, capsys):
    with pytest.raises(SystemExit) as ended:
        planned("CIFAR-10", *options)
    assert ended.value.code == 2 and "error:" in capsys.readouterr().err
