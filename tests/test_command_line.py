"""The command that is recorded with a run gives the same arguments again, and names no place of one machine."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

import train_cider
import train_mcd
import train_vos
from tests.checkpoint_files import write_checkpoint
from tests.commands import REPOSITORY
from utils.cli import evaluate as eval_options
from utils.cli.record import key_arguments, recorded
from utils.files import typed
from utils.results import rows


def parsed(monkeypatch, script, *options):
    monkeypatch.setattr(sys, "argv", [f"/somewhere/{script.__name__}.py", *options])
    return script.parse_arguments()


@pytest.mark.parametrize(
    ("script", "options"),
    [
        (train_cider, ""),
        (train_cider, "--in-dataset CIFAR-10 --epochs 20 --width 16 --warm --no-cosine --lr_decay_epochs 5,10"),
        (train_cider, "--in-dataset CIFAR-10 --loss ce --cosine --channels-last --amp bf16 --device cpu --trial 3"),
        (train_cider, "--in-dataset CIFAR-100 --proto_m=0.9 --w 2 --name mine --seed 9"),
        (train_vos, "--in-dataset CIFAR-10 --model resnet18 --width 16 --loss_weight 0"),
        (train_vos, "--in-dataset digits --start_epoch 3 --feat_dim 8"),
    ],
)
def test_the_recorded_command_repeats_the_run(script, options, monkeypatch):
    given = parsed(monkeypatch, script, *options.split())
    python, name, *words = shlex.split(given.command)
    assert (python, name) == ("python", f"{script.__name__}.py")
    again = parsed(monkeypatch, script, *words)
    assert key_arguments(again) == key_arguments(given)
    for free in ("name", "amp", "channels_last", "device", "command"):
        assert getattr(again, free) == getattr(given, free)


def test_what_is_the_default_and_where_things_lie_is_left_out(monkeypatch):
    options = "--in-dataset CIFAR-10 --epochs 500 --checkpoints /a --id_loc /b --seed 5"
    given = parsed(monkeypatch, train_cider, *options.split())
    assert given.command == "python train_cider.py --in-dataset CIFAR-10 --seed 5"


@pytest.mark.parametrize(
    ("options", "warmup", "epochs"),
    [
        ("--in-dataset CIFAR-10", "linear", 10),
        ("--in-dataset CIFAR-10 --epochs 11", "linear", 10),
        ("--in-dataset CIFAR-10 --epochs 10", "linear", 1),
        ("--in-dataset CIFAR-10 --epochs 2", "linear", 1),
        ("--in-dataset CIFAR-10 --epochs 1", "none", 10),
        ("--in-dataset CIFAR-10 --epochs 10 --warmup reference", "reference", 10),
        ("--in-dataset CIFAR-10 --epochs 12 --warmup-epochs 11", "linear", 11),
        ("--in-dataset CIFAR-10 --epochs 5 --warmup none", "none", 10),
    ],
)
def test_a_warm_up_that_nobody_asked_for_fits_the_epochs(options, warmup, epochs, monkeypatch):
    given = parsed(monkeypatch, train_cider, *options.split())
    assert (given.warmup, given.warmup_epochs) == (warmup, epochs)
    cut = "--warmup" not in options and given.epochs < 11
    assert len(given.notes) == cut
    assert cut is False or "the usual 10 do not fit" in given.notes[0]
    again = parsed(monkeypatch, train_cider, *shlex.split(given.command)[2:])
    assert key_arguments(again) == key_arguments(given) and again.name == given.name


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--epochs 100 --warmup-epochs 100", "--warmup-epochs 10 fits, and at most 99\n"),
        ("--epochs 2 --warmup-epochs 7", "--warmup-epochs 1 fits, and at most 1\n"),
        ("--epochs 1 --warmup-epochs 1", "--warmup none fits\n"),
        ("--epochs 1 --warmup linear", "--warmup none fits\n"),
    ],
)
def test_a_warm_up_that_does_not_fit_is_refused_with_one_that_does(options, said, monkeypatch, capsys):
    with pytest.raises(SystemExit) as end:
        parsed(monkeypatch, train_cider, *options.split())
    assert end.value.code == 2 and capsys.readouterr().err.endswith(said)


@pytest.mark.parametrize("name", ["../../elsewhere", ".", ".."])
def test_a_name_that_leads_to_another_folder_is_refused(name, monkeypatch, capsys):
    with pytest.raises(SystemExit) as end:
        parsed(monkeypatch, train_cider, "--name", name)
    assert end.value.code == 2 and f"--name {name} is no name of a folder" in capsys.readouterr().err


def test_a_seed_that_pytorch_does_not_take_is_refused(monkeypatch, capsys):
    with pytest.raises(SystemExit) as end:
        parsed(monkeypatch, train_cider, "--seed", "9" * 20)
    assert end.value.code == 2 and "is not a whole number of at most 18 digits" in capsys.readouterr().err
    assert parsed(monkeypatch, train_cider, "--seed", str(2**40)).seed == 2**40


def test_a_checkpoint_keeps_no_argument_of_the_one_call_and_resume_compares_none_of_the_machine(monkeypatch):
    given = parsed(monkeypatch, train_cider, *"--save-every 3 --amp bf16 --id_loc mine --checkpoints /a".split())
    saved = recorded(given)
    assert {"checkpoints", "save_every", "resume", "workers"}.isdisjoint(saved)
    assert (saved["amp"], saved["id_loc"]) == ("bf16", "mine")  # evaluations look for the images there
    assert saved["name"] == given.name and saved["command"] == given.command
    free = "amp channels_last device gpu compile deterministic sync_bn id_loc init_from name command"
    assert saved.keys() - key_arguments(given).keys() == {*free.split()}
    assert json.loads(json.dumps(saved)) == saved


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 2), (4, 4), (64, 4)])
def test_no_more_workers_than_cores(cores, workers, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert parsed(monkeypatch, train_cider).workers == workers
    assert parsed(monkeypatch, train_cider, "--workers", "8").workers == 8


@pytest.mark.parametrize(
    ("executable", "on_the_path", "folder", "said"),
    [
        ("/usr/bin/python3", "/usr/bin/python3", REPOSITORY, "python3 eval_cider.py"),
        (f"{REPOSITORY}/.venv/bin/python", "/usr/bin/python3", REPOSITORY, ".venv/bin/python eval_cider.py"),
        ("/opt/my env/python", None, REPOSITORY.parent, f"'/opt/my env/python' {REPOSITORY.name}/eval_cider.py"),
    ],
)
def test_a_printed_command_names_the_python_that_runs(executable, on_the_path, folder, said, monkeypatch):
    monkeypatch.setattr(sys, "executable", executable)
    monkeypatch.setattr("shutil.which", lambda name: on_the_path if name == "python3" else None)
    monkeypatch.chdir(folder)
    assert typed("eval_cider.py") == said
    assert typed("eval_cider.py", "--ckpt", Path("my runs/c.pth.tar")) == f"{said} --ckpt 'my runs/c.pth.tar'"


TRAINED = {"in_dataset": "digits", "name": "mine", "command": "python train_cider.py --in-dataset digits --name mine"}


@pytest.mark.parametrize(
    ("trained", "which"),
    [(TRAINED, "--in-dataset digits --name mine --epoch 3"), ({}, "--in-dataset digits --ckpt c.pth.tar")],
)
def test_an_evaluation_records_both_commands(trained, which, tmp_path, run_eval):
    """That of a run of this repository names the run, that of any other file names the file."""
    path = write_checkpoint(tmp_path / "c.pth.tar", epoch=3, **trained)
    status, _, error = run_eval(
        *("--ckpt", path, "--in-dataset", "digits", "--score", "knn", "ssd", "--positive", "ood"),
        *("--no-plots", "--no-cache", "--out", tmp_path / "out"),
    )
    assert status == 0, error
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())["commands"]
    assert found["train"] == trained.get("command")
    assert found["evaluate"] == f"python eval_cider.py {which} --score knn ssd --positive ood --device cpu"


COMMANDS = sorted({command for row in rows.read() for command in row.command.split(" && ") if command})
PARSERS = {
    "train_cider.py": train_cider.parse_arguments,
    "train_vos.py": train_vos.parse_arguments,
    "train_mcd.py": train_mcd.parse_arguments,
    "eval_cider.py": eval_options.parse_arguments,
    "scripts/demo.sh": train_cider.parse_arguments,  # which hands its options on
}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_in_the_results_can_be_typed(command, monkeypatch):
    here = re.sub(r"^OMP_NUM_THREADS=1 | --(device|gpu) \S+", "", command)  # another machine may have no such device
    launcher, script, *options = shlex.split(here)
    assert launcher in ("python", "sh") and (REPOSITORY / script).is_file()
    monkeypatch.setattr(sys, "argv", [script, *options])
    PARSERS[script]()
