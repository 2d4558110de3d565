"""Whole commands as a user types them: the demo, official files, what goes wrong, and --help without network or GPU."""

import csv
import json
import re
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from models.cider import CIDERNet
from tests.commands import REPOSITORY, python, run, shell
from tests.data_files import write_cifar10, write_images
from utils.cli import start
from utils.cli.start import MODULES

TRAIN_SCRIPTS = sorted(path.name for path in (REPOSITORY / "scripts").glob("train_*.sh"))
EVAL_SCRIPTS = sorted(path.name for path in (REPOSITORY / "scripts").glob("eval_*.sh"))
PYTHON_SCRIPTS = sorted({path.name for path in REPOSITORY.glob("*.py")} - {"hubconf.py"})  # which torch.hub imports
BARE = """
import runpy, socket, sys
socket.socket.connect = sys.modules["torch"] = None  # neither network nor PyTorch, whose import takes seconds
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The demo, cut to one short epoch, run from another folder."""
    runs = tmp_path_factory.mktemp("runs")
    short = ("--epochs", "1", "--warmup", "none", "--limit-train", "60", "--width", "8")
    return runs, shell("demo.sh", *short, cwd=runs, DEMO_RUNS=str(runs))


def test_demo_prints_the_table_and_names_its_pictures(demo):
    runs, done = demo
    assert done.returncode == 0, done.stderr
    assert "ID is the positive class" in done.stdout
    for name in ("digits-6-9", "photographs", "uniform-noise", "gaussian-noise", "mean (4)"):
        assert re.search(rf"^{re.escape(name)}\s+.*\d+\.\d\d", done.stdout, re.MULTILINE), name
    named = re.findall(r"\S+\.png", done.stdout)
    folder = runs / "digits" / "demo" / "eval_1"
    assert {"histograms.png", "roc.png", "features_tsne.png", "prototypes.png"} <= {
        path.rsplit("/")[-1] for path in named
    }
    assert all((folder / path.rsplit("/")[-1]).stat().st_size > 0 for path in named)


def test_demo_leaves_a_complete_run_folder(demo):
    runs, _ = demo
    folder = runs / "digits" / "demo"
    for name in ("args.yaml", "env.json", "log.jsonl", "summary.csv", "last.pt", "checkpoint_1.pth.tar"):
        assert (folder / name).stat().st_size > 0, name
    assert list((folder / "tb").iterdir())


def test_the_same_demo_again_goes_straight_to_the_table(demo):
    runs, first = demo
    again = shell(
        "demo.sh", "--epochs", "1", "--warmup", "none", "--limit-train", "60", "--width", "8", DEMO_RUNS=str(runs)
    )
    assert again.returncode == 0, again.stderr
    assert "epoch 1/1" in first.stdout and "epoch 1/1" not in again.stdout
    assert "mean (4)" in again.stdout


@pytest.mark.parametrize("script", TRAIN_SCRIPTS)
def test_flags_of_train_scripts_parse(script):
    done = shell(script, "--help")
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout


@pytest.mark.parametrize("script", EVAL_SCRIPTS)
def test_flags_of_eval_scripts_parse(script, tmp_path):
    assert shell(script).returncode == 2
    done = shell(script, "some_name", "--checkpoints", tmp_path)
    assert done.returncode == 1
    assert "some_name" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("script", PYTHON_SCRIPTS)
def test_help_and_wrong_usage_wait_for_neither_network_nor_pytorch(script):
    done = run(sys.executable, "-c", BARE, REPOSITORY / script, "--help")
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout
    done = run(sys.executable, "-c", BARE, REPOSITORY / script, "--wokers", "2")
    assert done.returncode == 2
    assert done.stderr == f"{script}: error: unknown option --wokers: did you mean --workers?\n"


COMPLETE = {
    "detect.py": ("--ckpt", "x", "--images", "y"),
    "eval_cider.py": ("--name", "x"),
    "scripts/prepare_data.py": ("--list",),
    "scripts/make_imagenet100.py": ("x",),
    "scripts/make_example_folder.py": ("x",),
    "scripts/experiments.py": ("ablation", "warmup", "--dry-run"),
    "benchmarks/run.py": (),
}


@pytest.mark.parametrize("script", dict.fromkeys((*PYTHON_SCRIPTS, *COMPLETE)))
def test_a_missing_pytorch_is_one_line(script):
    done = run(sys.executable, "-S", REPOSITORY / script, *COMPLETE.get(script, ()))
    assert done.returncode == 1
    assert done.stderr.startswith(f"{Path(script).name}: error: {sys.executable} lacks torch, ")
    assert "pip install -r" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("entered", [True, False])
def test_the_environment_of_the_repository_is_named_to_those_outside_of_it(tmp_path, monkeypatch, entered):
    own = tmp_path / ".venv" / "bin" / "python"
    own.parent.mkdir(parents=True)
    own.touch()
    monkeypatch.setattr(start, "REPOSITORY", tmp_path)
    monkeypatch.setattr(sys, "executable", str(own if entered else tmp_path / "python"))
    assert ("pip install -r" if entered else "bin/activate") in start._advice()


def test_every_required_package_is_looked_for_but_the_one_that_only_some_scores_need():
    lines = (REPOSITORY / "requirements.txt").read_text().splitlines()
    required = [re.match(r"[\w-]+", line)[0] for line in lines if not line.startswith("#")]
    assert [
        {"scikit-learn": "sklearn", "PyYAML": "yaml"}.get(name, name) for name in required if name != "pytorch-ood"
    ] == [*MODULES]


def test_missing_data_is_named_with_what_to_do(tmp_path):
    done = shell("train_cider_cifar10.sh", "--id_loc", tmp_path / "nowhere", "--checkpoints", tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "CIFAR-10" in done.stderr and str(tmp_path / "nowhere") in done.stderr and "looked for" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--start-epoch", "3"], "--start-epoch has no function here: --resume auto"),
        (["--in-dataset", "MNIST"], "--in-dataset: invalid choice: 'MNIST' (choose from 'digits', 'CIFAR-10', "),
        (["--gpu", "0", "--device", "cpu"], "--device: not allowed with argument --gpu"),
        (["--epochs", "3", "--warmup-epochs", "5"], "--warmup-epochs 5: --epochs 3 would end within the warm-up"),
        (["--w", "minus"], "--w: minus is not a number of at least 0"),
        (["--width", "4"], "--width: 4 is not at least 8, the narrowest network that trains on every CPU"),
        (["--nearest", "3"], "--cache-size and --nearest are about the mixture of --loss palm, not about cider"),
        (["--loss", "palm", "--nearest", "7"], "--nearest 7 of --cache-size 6 prototypes a class is not possible"),
        (
            ["--loss", "palm", "--prototype-init", "simplex"],
            "--prototypes and --prototype-init are CIDER's: palm moves its own",
        ),
        (["--loss", "supcon", "-b", "1"], "--loss supcon compares images of a batch with each other"),
        (["--device", "cuda:7"], "--device cuda:7 can not be used here"),
        (["--proto", "0.9"], "unknown option --proto: did you mean --proto_m or --prototypes or --prototype-init?"),
        (["--epchs=3"], "unknown option --epchs: did you mean --epochs?"),
        (["--nothing-like-it"], "unknown option --nothing-like-it: --help shows all options"),
    ],
)
def test_wrong_usage_is_one_message_with_status_2(arguments, said):
    done = python("train_cider.py", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"train_cider.py: error: {said}") and done.stderr.count("\n") == 1


def test_a_seed_that_numpy_or_scikit_learn_would_refuse_is_refused_at_once():
    for seed in ("-1", str(2**32)):
        done = python("eval_cider.py", "--name", "x", "--seed", seed)
        assert done.returncode == 2
        assert done.stderr == f"eval_cider.py: error: --seed: {seed} is not a whole number from 0 to 4294967295\n"


def test_an_example_folder_where_nothing_can_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    done = python("scripts/make_example_folder.py", tmp_path / "file" / "shapes")
    assert done.returncode == 1
    assert done.stderr == (
        f"make_example_folder.py: error: nothing can be written to {tmp_path}/file/shapes: Not a directory\n"
    )


def test_dashes_and_underscores_are_the_same_flag(tmp_path):
    spelled = ["--in_dataset", "digits", "--proto-m", "0.9", "--feat-dim=16", "--learning-rate", "0.1", "--id-loc", "x"]
    done = python("train_cider.py", *spelled, "--resume", tmp_path / "missing.pt", "--checkpoints", tmp_path)
    assert done.returncode == 1
    assert "missing.pt" in done.stderr


def test_official_checkpoint_is_evaluated(tmp_path):
    path = tmp_path / "CIFAR-10" / "ckpt_c10" / "checkpoint_500.pth.tar"
    path.parent.mkdir(parents=True)
    content = {
        "epoch": 500,
        "state_dict": CIDERNet(num_classes=10).state_dict(),
        "opt_state_dict": {"state": {}, "param_groups": []},
        "dis_state_dict": {"prototypes": torch.nn.functional.normalize(torch.randn(10, 128))},
        "uni_state_dict": {},
    }
    torch.save(content, path)
    write_cifar10(tmp_path / "data")
    write_images(tmp_path / "photos", 7)
    places = ["--checkpoints", tmp_path, "--id_loc", tmp_path / "data", "--ood_loc", tmp_path / "none"]
    wanted = ["--ood-sets", f"mine={tmp_path / 'photos'}", "SVHN", "--no-plots", "--out", tmp_path / "out"]
    done = shell("eval_ckpt_cifar10.sh", "ckpt_c10", "--epoch", "500", "--K", "5", *places, *wanted)
    assert done.returncode == 0, done.stderr
    assert "epoch 500" in done.stdout and "mine" in done.stdout
    assert "checksums differ from the official files" in done.stdout  # with the figures, wherever they go
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert found["ood"]["mine"]["images"] == 7
    assert "SVHN" in found["missing"]
    assert found["id_accuracy"]["knn"] is not None and "fc" not in found["id_accuracy"]


def test_ruff_is_clean():
    for arguments in (["check"], ["format", "--check"]):
        done = run(sys.executable, "-m", "ruff", *arguments, REPOSITORY)
        assert done.returncode == 0, done.stdout


def test_results_are_gathered_once(demo):
    runs, _ = demo
    found = runs / "digits" / "demo" / "eval_1" / "metrics.json"
    for _ in range(2):
        done = python("scripts/collect_results.py", found, "--csv", runs / "measured.csv")
        assert done.returncode == 0, done.stderr
    with open(runs / "measured.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    said = json.loads(found.read_text())
    assert [row["ood"] for row in rows] == ["digits-6-9", "photographs", "uniform-noise", "gaussian-noise"]
    assert float(rows[0]["auroc"]) == pytest.approx(100 * said["ood"]["digits-6-9"]["auroc"], abs=0.005)
    assert rows[0]["positive"] == "ID" and rows[0]["train_images"] == "60"


@pytest.mark.parametrize(
    "method, options, heading",
    [("vos", ("--start_epoch", "1"), "VOS  "), ("mcd", ("--pretrain-epochs", "1"), "MCD †  ")],
)
def test_demo_of_other_methods(method, options, heading, tmp_path):
    short = ("--epochs", "2", "--limit-train", "60", "--width", "8")
    done = shell("demo.sh", method, *short, *options, DEMO_RUNS=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert f"\n{heading}ResNet-18 (width 8)" in done.stdout
    assert re.search(r"^digits-6-9\s+.*\d+\.\d\d", done.stdout, re.MULTILINE)


def test_comparison_of_the_three_methods_as_a_plan(tmp_path):
    done = shell("compare_digits.sh", "--dry-run", "--", "--checkpoints", tmp_path)
    assert done.returncode == 0, done.stderr
    train = [line.split() for line in done.stdout.splitlines() if line.startswith("    python train_")]
    evaluate = [line.split() for line in done.stdout.splitlines() if line.startswith("    python eval_")]
    assert len(train) == len(evaluate) == 12 and not list(tmp_path.iterdir())
    assert Counter(line[1] for line in train) == {"train_mcd.py": 6, "train_cider.py": 3, "train_vos.py": 3}
    lists = {line[line.index("--scored") + 1] for line in evaluate}
    assert len(lists) == 3 and all("mcd-inductive" in path for path in lists)  # one a seed, for all its methods
    for line in train:
        epochs = int(line[line.index("--epochs") + 1])
        pretraining = int(line[line.index("--pretrain-epochs") + 1]) if line[1] == "train_mcd.py" else 0
        assert epochs + pretraining == 30
    done = python("scripts/experiments.py", "compare_digits", "--epochs", "2")
    assert done.returncode == 2 and "MCD needs 3" in done.stderr


@pytest.mark.slow
def test_comparison_of_the_three_methods(tmp_path):
    small = ("--seeds", "4", "--epochs", "3", "--", "--width", "8", "--limit-train", "60", "--checkpoints", tmp_path)
    done = shell("compare_digits.sh", *small)
    assert done.returncode == 0, done.stderr
    table = done.stdout[done.stdout.rindex("\ndigits   ResNet-18 (width 8)   3 epochs") :].splitlines()
    assert "digits-6-9 (scored part, 332 of 714)" in table[2] and "photographs" in table[2]
    assert [line.split("  ")[0] for line in table[3:7]] == [
        "CIDER (KNN, K=5)", "VOS (energy)", "MCD (discrepancy) †", "MCD (discrepancy) ‡",
    ]  # fmt: skip
    again = shell("compare_digits.sh", *small)
    assert "epoch 1/" not in again.stdout and again.stdout.count(": done, ") == 4
    assert again.stdout.endswith("\n".join(table[1:]) + "\n")
