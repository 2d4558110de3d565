"""--config FILE: a run is repeated by the args.yaml that it left, and a file is refused where it means nothing."""

import os
import shutil
from pathlib import Path

import pytest
import torch
import yaml

import train_cider
from tests.data_files import write_images
from tests.training_runs import differences, folder, run, run_script_in_process, trained
from utils import checkpoint
from utils.cli import cider, detect, evaluate, mcd, vos
from utils.cli.config import FACTS
from utils.cli.record import recorded
from utils.files import REPOSITORY, local, portable

SHORT = "--save-every 1 --eval-freq 2 --print-freq 2".split()  # of one call, and not in the file
PARSERS = {"train_cider": cider, "train_vos": vos, "train_mcd": mcd}


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The checkpoints folder of a small run."""
    path = tmp_path_factory.mktemp("runs")
    outcome = run(path)
    assert outcome.status == 0, outcome.err
    return path


def test_a_run_is_repeated_by_its_args_yaml_to_the_last_bit(first, tmp_path):
    other = folder(first).with_name("again")
    config = ("--config", str(folder(first) / "args.yaml"), "--name", "again", *SHORT)
    outcome = run_script_in_process(train_cider.main, first, (), config)
    assert outcome.status == 0, outcome.err
    shutil.copytree(other, folder(tmp_path))
    assert differences(trained(first), trained(tmp_path)) == []
    one, two = (yaml.safe_load((path / "args.yaml").read_text()) for path in (folder(first), other))
    assert {name for name in one if one[name] != two[name]} == {"name", "command"}


def written(path: Path, script: str, *options: str) -> tuple:
    """What a run with these options is, and a file with what it would record."""
    found = PARSERS[script].parse_arguments(command_line=list(options))
    for number, args in enumerate(found if isinstance(found, tuple) else (found,)):
        facts = dict.fromkeys(FACTS[2:], "of this run")
        (path / f"{number}.yaml").write_text(yaml.safe_dump({**recorded(args), **facts}))
    return found


@pytest.mark.parametrize(
    ("script", "options"),
    [
        ("train_cider", "--in-dataset CIFAR-100 --loss palm --channels-last --no-cosine --lr_decay_epochs 5,10"),
        ("train_cider", "--in-dataset digits --loss ce --amp bf16 --epochs 5 --device cpu"),
        ("train_vos", "--in-dataset digits --width 8 --epochs 5 --seed -3"),
        ("train_vos", "--in-dataset CIFAR-10 --loss_weight 0 --limit-train 50"),
        ("train_mcd", "--ood digits-6-9 mine=photos --ood_loc ~/ood --unlabelled inductive"),
    ],
)
def test_what_is_recorded_gives_the_same_arguments_again(script, options, tmp_path):
    given = written(tmp_path, script, *options.split())
    again = PARSERS[script].parse_arguments(command_line=["--config", str(tmp_path / "0.yaml")])
    for one, two in zip(*(found if isinstance(found, tuple) else (found,) for found in (given, again)), strict=True):
        assert recorded(one) == recorded(two)


def test_the_args_yaml_of_a_pre_training_repeats_the_pre_training(tmp_path):
    options = "--pretrain-epochs 7 --pretrain-learning_rate 0.2 --width 8 --epochs 3 --stage pretrain"
    _, given = written(tmp_path, "train_mcd", *options.split())
    args, again = mcd.parse_arguments(command_line=["--config", str(tmp_path / "1.yaml")])
    assert recorded(given) == recorded(again)
    assert args.stage == "pretrain" and args.epochs == 10  # the fine-tuning's are not in that file


def test_the_command_line_wins(tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text(
        "epochs: 7\nseed: 3  # mine\nin-dataset: cifar10\nchannels_last: true\ncosine: true\ndevice: cuda:3\n"
    )
    args = cider.parse_arguments(command_line=["--seed", "5", "--config", str(file), "--no-cosine", "--gpu", "0"])
    assert (args.epochs, args.seed, args.in_dataset) == (7, 5, "CIFAR-10")
    assert (args.channels_last, args.cosine, args.device, args.gpu) == (True, False, None, 0)
    file.write_text("id_recall: 0.9\nckpt: runs/c.pth.tar\nimages: ~/photos\nworkers: 0\n")
    args = parsed(detect, "--config", file, "--threshold", "-5")
    assert (args.threshold, args.id_recall, args.workers) == (-5, 0.95, 0)
    assert (args.ckpt, args.images) == (REPOSITORY / "runs/c.pth.tar", Path.home() / "photos")
    file.write_text("name: mine\nood_sets:\n  - SVHN\n  - mine=~/photos\nK_sweep: [1, 5]\namp: off\nbootstrap: 20\n")
    args = parsed(evaluate, f"--config={file}")
    assert args.ood_sets == ["SVHN", f"mine={Path.home() / 'photos'}"] and args.K_sweep == (1, 5)
    assert (args.name, args.amp, args.bootstrap) == ("mine", "off", 20) and not hasattr(args, "config")


def parsed(module, *words):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["script.py", *map(str, words)])
        return module.parse_arguments()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epoch: 3", "unknown option --epoch: did you mean --epochs?"),
        ("no such thing: 3", "unknown option --no-such-thing: --help shows all options"),
        ("epochs: ten", "--epochs: ten is not a whole number of at least 1"),
        ("epochs: [1, 2]", "--epochs: 1,2 is not a whole number of at least 1"),
        ("epochs: {a: 1}", "--epochs is neither a value nor a list of values"),
        ("loss: best", "--loss: invalid choice: 'best' (choose from "),
        ("cosine: maybe", "--cosine: maybe is neither true nor false"),
        ("config: more.yaml", "config: a file of options names no further one"),
        ("normalize: true", "--normalize has no function here"),
        ("epochs: 3\nseed: [", "it is not YAML: while parsing a flow node"),
        ("just words", "it has no lines `option: value`"),
        ("", "it has no lines `option: value`"),
        (None, "No such file or directory"),
        ("epochs: 3\ncommand: python train_vos.py --epochs 3", "it is of another script than train_cider.py: python"),
    ],
)
def test_a_file_that_means_nothing_is_refused_in_a_line(text, said, tmp_path, capsys):
    file = tmp_path / "c.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SystemExit) as ended:
        cider.parse_arguments(command_line=["--config", str(file)])
    err = capsys.readouterr().err
    assert ended.value.code == 2 and err.startswith(f"train_cider.py: error: --config {file}: {said}")
    assert err.count("\n") == 1


def test_every_option_of_a_run_that_was_made_by_an_older_version_is_known():
    tracked = REPOSITORY / "checkpoints" / "CIFAR-10" / "cider_resnet18_e100_s4" / "args.yaml"
    args = cider.parse_arguments(command_line=["--config", str(tracked)])
    assert (args.epochs, args.seed, args.loss, args.amp) == (100, 4, "cider", "bf16")


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (REPOSITORY / "datasets" / "x", "datasets/x"),
        (Path.home() / "data" / "x", "~/data/x"),
        (REPOSITORY.parent / "x", None),
        (Path("/data/x"), None),
    ],
)
def test_a_place_that_is_written_down_names_no_machine_and_is_found_again(place, text, monkeypatch, tmp_path):
    if text is None:
        monkeypatch.setenv("HOME", str(tmp_path))  # neither the repository nor the place is below it
        text = os.path.relpath(place, REPOSITORY)
    assert portable(place) == text and not os.path.isabs(text)
    monkeypatch.chdir(tmp_path)
    assert str(local(text)) == str(place)


def test_a_run_on_images_elsewhere_records_no_absolute_path_and_goes_on(tmp_path, monkeypatch):
    for name in ("cat", "dog"):
        write_images(tmp_path / "pets" / name, 8)
    data = ("--in-dataset", "folder", "--id-loc", str(tmp_path / "pets"), "--image-size", "16", "--limit-train", "8")
    outcome = run(tmp_path / "runs", *data)
    assert outcome.status == 0, outcome.err
    made = tmp_path / "runs" / "folder" / "run"
    place = os.path.relpath(tmp_path / "pets", REPOSITORY)
    stated = [checkpoint.load(made / name)["args"] for name in ("last.pt", "checkpoint_4.pth.tar")]
    for args in (*stated, yaml.safe_load((made / "args.yaml").read_text())):
        assert args["id_loc"] == place and "--id-loc" not in args["command"]
        assert not [value for value in args.values() if isinstance(value, str) and os.path.isabs(value)]
    (made / "last.pt").unlink()
    monkeypatch.chdir(tmp_path)
    again = run_script_in_process(
        train_cider.main, tmp_path / "runs", (), ("--config", str(made / "args.yaml"), "--name", "b", *SHORT)
    )
    assert again.status == 0, again.err
    state = [checkpoint.load(made.with_name(name) / "checkpoint_4.pth.tar") for name in ("run", "b")]
    assert all(map(torch.equal, *(each["state_dict"].values() for each in state)))
