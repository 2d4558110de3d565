"""A plan of trainings and evaluations: what it runs, what it takes for done, and where it goes on."""

import argparse
import json
import shlex
from pathlib import Path

import pytest

from tests.data_files import write_cifar10
from utils.errors import UserError
from utils.files import file_sha256
from utils.results import plan
from utils.results.plan import Step, carry_out


def step(folder, name="a", **changes):
    run = folder / name
    settings = {
        "label": name,
        "train": ("train_cider.py", "--name", name),
        "checkpoint": run / "checkpoint_3.pth.tar",
        "evaluation": {"score": ["knn"], "benchmark": "cider", "ood_sets": ["x"]},
        "out": run / "eval_3",
        "args": argparse.Namespace(in_dataset="digits", id_loc=None, device="cpu"),
    }
    return Step(**settings | changes)


@pytest.fixture
def ran(monkeypatch):
    """Names of the scripts that are called, each of which leaves what the real one would; `ran.fail` is one to fail."""

    class Ran(list):
        fail = None

    calls = Ran()

    def play(command):
        calls.append(" ".join(command[:3]) if command[0].startswith("train") else command[0])
        if calls.fail == len(calls):
            raise UserError("failed")
        if command[0] == "eval_cider.py":
            leave_metrics(command[command.index("--ckpt") + 1], command[command.index("--out") + 1])
        else:
            made = next(each for each in play.steps if list(each.train) == command)
            made.checkpoint.parent.mkdir(parents=True, exist_ok=True)
            made.checkpoint.write_bytes(b"weights of " + made.label.encode())

    calls.play = play
    monkeypatch.setattr(plan, "_run", play)
    return calls


def leave_metrics(checkpoint, out, score="knn"):
    Path(out).mkdir(parents=True, exist_ok=True)
    settings = {"score": [score], "benchmark": "cider", "ood_sets": ["x"]}
    found = {"checkpoint": {"sha256": file_sha256(checkpoint)}, "settings": settings}
    (Path(out) / "metrics.json").write_text(json.dumps(found))


def test_everything_runs_once_in_order(ran, tmp_path, capsys):
    ran.play.steps = steps = [step(tmp_path, name) for name in "ab"]
    assert carry_out(steps, dry_run=False)
    assert ran == ["train_cider.py --name a", "eval_cider.py", "train_cider.py --name b", "eval_cider.py"]
    assert carry_out(steps, dry_run=False) and len(ran) == 4
    assert f"[2/2] b: done, {steps[1].out}" in capsys.readouterr().out


def test_a_failure_stops_and_the_next_call_goes_on_there(ran, tmp_path):
    ran.play.steps = steps = [step(tmp_path, name) for name in "ab"]
    ran.fail = 2
    with pytest.raises(UserError):
        carry_out(steps, dry_run=False)
    ran.clear()
    ran.fail = None
    assert carry_out(steps, dry_run=False)
    assert ran == ["eval_cider.py", "train_cider.py --name b", "eval_cider.py"]


def test_another_checkpoint_or_other_settings_are_evaluated_anew(ran, tmp_path):
    ran.play.steps = [mine] = [step(tmp_path)]
    carry_out([mine], dry_run=False)
    mine.checkpoint.write_bytes(b"trained again")
    assert mine.commands() == [
        ["eval_cider.py", "--overwrite", "--no-plots", "--ckpt", str(mine.checkpoint), "--out", str(mine.out)]
        + ["--device", "cpu", "--score", "knn", "--benchmark", "cider", "--ood-sets", "x"]
    ]
    carry_out([mine], dry_run=False)
    assert mine.commands() == []
    leave_metrics(mine.checkpoint, mine.out, score="ssd")
    assert not mine.is_evaluated()
    mine.metrics.write_text("{")
    assert not mine.is_evaluated()


def test_svhn_in_part_is_no_whole_one(tmp_path):
    """Or an evaluation by OpenOOD's lists, which say that SVHN is missing, is never done."""
    (tmp_path / "svhn").mkdir()
    (tmp_path / "svhn" / "selected_test_32x32.mat").touch()
    training = argparse.Namespace(in_dataset="CIFAR-10")

    def absent(benchmark):
        return step(tmp_path, args=training, evaluation={"benchmark": benchmark, "ood_loc": tmp_path}).absent_sets()

    assert "SVHN" not in absent("cider") and "SVHN" in absent("openood")
    (tmp_path / "svhn" / "test_32x32.mat").touch()
    assert "SVHN" not in absent("openood")


def test_two_evaluations_share_a_training(ran, tmp_path):
    first = step(tmp_path)
    second = step(tmp_path, train=(), out=tmp_path / "a" / "eval_other")
    ran.play.steps = [first]
    assert [len(each.commands()) for each in (first, second)] == [2, 1]
    assert carry_out([first, second], dry_run=False)
    assert ran == ["train_cider.py --name a", "eval_cider.py", "eval_cider.py"]
    assert second.metrics.is_file() and carry_out([first, second], dry_run=True)


def test_a_run_that_was_trained_elsewhere_is_evaluated_alone(ran, tmp_path):
    mine = step(tmp_path)
    mine.checkpoint.parent.mkdir()
    mine.checkpoint.write_bytes(b"weights of another machine")
    assert carry_out([mine], dry_run=False) and ran == ["eval_cider.py"]


def test_a_dry_run_prints_what_can_be_typed_and_runs_nothing(ran, tmp_path, capsys):
    mine = step(tmp_path / "with space")
    assert not carry_out([mine], dry_run=True)
    assert ran == [] and not list(tmp_path.iterdir())
    lines = capsys.readouterr().out.splitlines()
    assert [shlex.split(line)[1] for line in lines[1:]] == ["train_cider.py", "eval_cider.py"]
    assert shlex.split(lines[2])[5] == str(mine.checkpoint)


def test_a_dry_run_says_which_data_is_missing_once(tmp_path, capsys):
    training = argparse.Namespace(in_dataset="CIFAR-10", id_loc=tmp_path / "cifar")
    for name in ("dtd", "iSUN"):
        (tmp_path / "ood" / name).mkdir(parents=True)
    usual = {"benchmark": "cider", "ood_loc": tmp_path / "ood"}
    steps = [step(tmp_path, name, args=training, evaluation=usual) for name in "ab"]
    named = step(tmp_path, "c")
    assert not carry_out([*steps, named], dry_run=True)
    said = capsys.readouterr().out
    assert said.count("missing: CIFAR-10 not found") == 1 and f"{tmp_path}/cifar" in said
    assert said.count("missing OOD sets: SVHN, places365, LSUN (") == 1 and "digits" not in said
    write_cifar10(tmp_path / "cifar", 40)
    assert not carry_out(steps, dry_run=True)
    assert "CIFAR-10 not found" not in capsys.readouterr().out


def test_a_command_that_fails_is_one_message_with_what_to_do(tmp_path):
    script = tmp_path / "failing.py"
    script.write_text("import sys; sys.exit(3)")
    with pytest.raises(UserError, match=r"(?s)status 3 of: python .*failing.py.*same command again"):
        carry_out([step(tmp_path, train=(str(script), "--x"))], dry_run=False)


@pytest.mark.parametrize("ends", ["sys.exit(143)", "os.kill(os.getpid(), signal.SIGTERM)"])
def test_a_run_that_ended_by_a_signal_ends_the_plan_with_its_status(tmp_path, ends):
    script = tmp_path / "stopped.py"
    script.write_text(f"import os, signal, sys; {ends}")
    with pytest.raises(SystemExit) as end:
        carry_out([step(tmp_path, train=(str(script), "--x"))], dry_run=False)
    assert end.value.code == 143
