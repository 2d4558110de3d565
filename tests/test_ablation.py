"""scripts/ablation.sh: every ablation trains what it says, once, and the values stand beside each other."""

import re
import shlex
from functools import partial

import pytest

from tests.commands import here, shell
from train_cider import parse_arguments
from utils.results import rows

ablation = partial(here, "scripts/experiments.py", "ablation")
SMALL = "--epochs 1 --limit-train 60 --width 8 --device cpu".split()
# The argument that each ablation varies, and its values on digits.
VARIED = {
    "w": ("w", [0.5, 1.0, 2.0, 4.0]),
    "temperature": ("temp", [0.05, 0.1, 0.2, 0.5]),
    "alpha": ("proto_m", [0.0, 0.5, 0.9, 0.95, 0.99]),
    "head-dimension": ("feat_dim", [16, 64, 128, 512]),
    "no-dispersion": ("no_dispersion", [False, True]),
    "learnable-prototypes": ("prototypes", ["ema", "learnable"]),
    "warmup": ("warmup", ["linear", "reference"]),
    "prototype-init": ("prototype_init", ["class-means", "simplex"]),
}


def trainings(out):
    """Arguments of the trainings that a dry run prints."""
    commands = [shlex.split(line) for line in re.findall(r"^    (python train_cider.py .*)", out, re.MULTILINE)]
    return [vars(parse_arguments(command_line=command[2:])) for command in commands]


def test_every_ablation_of_the_paper_is_there():
    said = ablation("--help")
    assert said.returncode == 0
    assert set(re.findall(r"^    ([\w-]+) {2,}\S.*: ", said.stdout, re.MULTILINE)) == VARIED.keys()


@pytest.mark.parametrize("name", VARIED)
def test_runs_differ_in_the_setting_and_the_seed_alone(tmp_path, name):
    planned = ablation(name, "--in-dataset", "digits", "--seeds", 1, 2, "--dry-run", "--", "--checkpoints", tmp_path)
    assert planned.returncode == 0, planned.stderr
    found = trainings(planned.stdout)
    varied, values = VARIED[name]
    assert [(run["seed"], run[varied]) for run in found] == [(seed, value) for seed in (1, 2) for value in values]
    assert len({run["name"] for run in found}) == len(found)
    free = {varied, "seed", "name", "command"}
    assert len({repr({key: value for key, value in run.items() if key not in free}) for run in found}) == 1
    assert not list(tmp_path.iterdir())


def test_seeds_and_values_have_usual_ones():
    found = trainings(ablation("w", "--values", "3", "--dry-run", "--", "--device", "cpu").stdout)
    assert [(run["in_dataset"], run["epochs"], run["w"], run["seed"]) for run in found] == [
        ("CIFAR-10", 500, 3.0, seed) for seed in (4, 5, 6)
    ]


@pytest.mark.parametrize(
    "arguments, said",
    [
        ([], "are required: NAME; --help says"),
        (["speed"], "choose from"),
        (["w", "--values", "many"], "--w"),
        (["no-dispersion", "--values", "half"], "with, without"),
        (["w", "--", "--seed", "3"], "--seed behind --"),
        (["w", "--", "--w=3"], "--w behind --"),
        (["alpha", "--", "--proto-m", "3"], "--proto-m behind --"),
        (["w", "--", "--nonsense"], "--nonsense"),
    ],
)
def test_wrong_usage_is_one_message_with_status_2(arguments, said):
    done = ablation(*arguments, "--dry-run") if "--" not in arguments else ablation(*arguments)
    assert done.returncode == 2 and said in done.stderr


def test_a_file_of_rows_that_can_not_be_written_is_met_before_the_first_training(tmp_path):
    (tmp_path / "file").touch()
    done = ablation("w", "--csv", tmp_path / "file" / "rows.csv", "--", *SMALL, "--checkpoints", tmp_path)
    assert done.returncode == 1 and "nothing can be written to" in done.stderr and "[1/" not in done.stdout


def test_it_trains_evaluates_and_shows_each_value_and_then_has_nothing_to_do(tmp_path):
    command = ("no-dispersion", "--in-dataset", "digits", "--seeds", "4", "--ood-sets", "photographs", "--csv")
    command = (*command, tmp_path / "rows.csv", "--", *SMALL, "--checkpoints", tmp_path)
    done = shell("ablation.sh", *command)
    assert done.returncode == 0, done.stderr
    for table in done.stdout.split("no-dispersion: ")[-1].split("\n\n")[:2]:
        assert re.search(r"^CIDER \(KNN, K=5\) +1 +\d+\.\d\d", table, re.MULTILINE)
        assert re.search(r"^CIDER \(KNN, K=5, no_dispersion=True\) +1 +\d+\.\d\d", table, re.MULTILINE)
    found = rows.read(tmp_path / "rows.csv")
    assert [row.experiment for row in found] == ["digits-ablation-no-dispersion"] * 2
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "digits").rglob("*")}
    again = ablation(*command)
    assert again.returncode == 0 and again.stdout.count(": done, ") == 2
    assert again.stdout.split("loss with and without")[1] == done.stdout.split("loss with and without")[1]
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "digits").rglob("*")}
