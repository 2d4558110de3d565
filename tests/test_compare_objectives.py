"""scripts/compare_objectives.sh: one recipe for four objectives, pairs of runs, and the differences between them."""

import re
import shlex
import statistics
from decimal import Decimal
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from tests.commands import here, shell
from train_cider import parse_arguments
from utils.errors import UserError
from utils.evaluation.metrics import ood_metrics
from utils.results import paired, rows
from utils.results.differences import Difference, tables

compare = partial(here, "scripts/experiments.py", "compare_objectives")
SMALL = "--width 8 --limit-train 60 --device cpu".split()
OWN = {"loss", "name", "command", "roles", "notes", "w", "proto_m", "cache_size", "nearest", "prototype_init"}


def planned(*options):
    done = compare(*options)
    assert done.returncode == 0, done.stderr
    lines = [shlex.split(line) for line in done.stdout.splitlines() if line.startswith("    python ")]
    trainings = [vars(parse_arguments(command_line=line[2:])) for line in lines if line[1] == "train_cider.py"]
    return trainings, [line for line in lines if line[1] == "eval_cider.py"], done.stdout


def test_a_dry_run_has_four_objectives_that_differ_in_nothing_but_what_is_theirs(tmp_path):
    where = ("--ood_loc", tmp_path / "none", "--", "--id_loc", tmp_path / "none", "--checkpoints", tmp_path)
    trainings, evaluations, said = planned("--dry-run", *where)
    assert [(run["loss"], run["seed"]) for run in trainings] == [
        (loss, seed) for seed in (4, 5, 6) for loss in ("cider", "supcon", "palm", "ce")
    ]
    assert len({repr({name: run[name] for name in run.keys() - OWN - {"seed"}}) for run in trainings}) == 1
    assert {(run["model"], run["epochs"], run["batch_size"], run["learning_rate"]) for run in trainings} == {
        ("resnet18", 100, 512, 0.5)
    }
    assert [run["proto_m"] for run in trainings[:4]] == [0.95, 0.95, 0.999, 0.95]
    assert len({run["name"] for run in trainings}) == 12
    benchmarks = [line[line.index("--benchmark") + 1] for line in evaluations]
    assert benchmarks == ["cider", "openood"] * 12
    assert all(line[line.index("--score") + 1 :][:3] == ["knn", "ssd", "maha++"] for line in evaluations)
    assert all("--linear-probe" in line for line in evaluations)
    assert "missing: CIFAR-10 not found." in said
    assert "missing OOD sets: SVHN, places365, " in said and "TIN, MNIST, " in said
    assert not list(tmp_path.iterdir())


def test_options_behind_the_dashes_are_for_all_objectives(tmp_path):
    small = "--width 16 --batch-size 64 --learning_rate 0.1 --warmup-epochs 1".split()
    options = ("7", "--epochs", "4", "8", "--objectives", "palm", "ce", "--dry-run", "--", "--checkpoints", tmp_path)
    trainings, *_ = planned(*options, *small)
    assert [(run["epochs"], run["loss"]) for run in trainings] == [(4, "palm"), (4, "ce"), (8, "palm"), (8, "ce")]
    for run in trainings:
        assert (run["width"], run["batch_size"], run["learning_rate"], run["warmup_epochs"]) == (16, 64, 0.1, 1)
        assert (run["warmup"], run["cosine"], run["weight_decay"]) == ("linear", True, 1e-4)
    assert trainings[0]["proto_m"] == 0.9  # of such batches


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--objectives", "vos"], "invalid choice: 'vos'"),
        (["--", "--loss", "ce"], "--loss behind --"),
        (["--", "--model", "resnet34"], "--model behind --"),
        (["four"], "is not a whole number"),
    ],
)
def test_wrong_usage_is_one_message_with_status_2(options, said):
    done = compare("--dry-run", *options)
    assert done.returncode == 2 and said in done.stderr


def test_a_small_comparison_ends_in_the_table_and_is_not_done_twice(tmp_path):
    command = ("4", "5", "--in-dataset", "digits", "--epochs", "1", "--objectives", "cider", "supcon")
    command = (*command, "--csv", tmp_path / "rows.csv", "--ood-sets", "digits-6-9", "photographs", "--", *SMALL)
    command = (*command, "--checkpoints", tmp_path)
    done = shell("compare_objectives.sh", *command)
    assert done.returncode == 0, done.stderr
    found = rows.read(tmp_path / "rows.csv")
    assert {(row.method, row.seed, row.score, row.ood) for row in found} == {
        (method, seed, score, ood)
        for method in ("cider", "supcon")
        for seed in (4, 5)
        for score in ("knn", "ssd", "maha++")
        for ood in ("digits-6-9", "photographs")
    }
    assert {row.experiment for row in found} == {"digits-objectives"}
    assert all(row.id_accuracy_probe and row.dispersion for row in found)

    differences = rows.read(tmp_path / "differences.csv", Difference)
    assert [(row.method, row.runs, row.experiment) for row in differences] == [("supcon", 2, "digits-objectives")] * 6
    for difference in differences:
        auroc = {
            (row.method, row.seed): row.auroc
            for row in found
            if (row.score, row.ood) == (difference.score, difference.ood)
        }
        by_hand = (auroc["supcon", 4] - auroc["cider", 4] + auroc["supcon", 5] - auroc["cider", 5]) / 2
        assert abs(difference.auroc - by_hand) <= Decimal("0.005") and difference.low < difference.high
        assert str(difference) in done.stdout
    assert re.search(r"^SSD\+ \(SupCon\) +2 .*\[", done.stdout, re.MULTILINE)

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "digits").rglob("*")}
    again = compare(*command)
    assert again.returncode == 0 and again.stdout.count(": done, ") == 4
    assert again.stdout.split("digits   ResNet-18")[1:] == done.stdout.split("digits   ResNet-18")[1:]
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "digits").rglob("*")}


@pytest.fixture
def evaluated(tmp_path, monkeypatch):
    """Evaluations of made-up scores on two sets: what `differences` reads, and the scores."""
    made = {}

    def row(path, ood, aurocs):
        method, seed = path.parent.name.split("-")
        facts = dict.fromkeys(("arch", "id_files"), "") | dict(width=8, id="digits", benchmark="cider", score="knn")
        facts |= dict(epochs=1, positive="ID", id_images=80, train_images=60)
        return SimpleNamespace(**facts, method=method, seed=int(seed), ood=ood, set=ood, auroc=aurocs[ood])

    def from_metrics(path):
        ids, oods = made[path]
        aurocs = {name: Decimal(f"{100 * ood_metrics(ids, scores)['auroc']:.2f}") for name, scores in oods.items()}
        return [row(path, name, aurocs) for name in oods]

    monkeypatch.setattr(paired, "from_metrics", from_metrics)
    for number, name in enumerate(("cider-1", "palm-1", "cider-2", "palm-2", "palm-3")):
        draws = np.random.default_rng(number)
        ids = draws.normal(1 + 0.4 * name.startswith("palm"), 1, 80)
        oods = {ood: draws.normal(0, 1, 60) for ood in ("digits-6-9", "photographs")}
        path = tmp_path / name / "metrics.json"
        path.parent.mkdir()
        np.savez(path.with_name("scores.npz"), id=ids, **{f"ood/{ood}": scores for ood, scores in oods.items()})
        made[path] = ids, oods
    return made


def pairwise(ids, oods):
    """AUROC of all pairs, by the definition."""
    return 100 * ((ids[:, None] > oods).mean() + 0.5 * (ids[:, None] == oods).mean())


def test_differences_are_paired_by_seed_and_their_interval_is_over_seeds_and_the_same_images(evaluated):
    made = {path.parent.name: scores for path, scores in evaluated.items()}
    found = {row.ood: row for row in paired.paired_differences([*evaluated], "", resamples=2000)}
    assert {row.runs for row in found.values()} == {2}  # seed 3 has no pair
    draws = np.random.default_rng(0)
    for ood in ("digits-6-9", "photographs"):
        by_hand = statistics.mean(
            pairwise(made[f"palm-{seed}"][0], made[f"palm-{seed}"][1][ood])
            - pairwise(made[f"cider-{seed}"][0], made[f"cider-{seed}"][1][ood])
            for seed in (1, 2)
        )
        assert float(found[ood].auroc) == pytest.approx(by_hand, abs=0.01)
        drawn = []
        for _ in range(2000):
            ids, oods = draws.integers(0, 80, 80), draws.integers(0, 60, 60)
            seeds = draws.integers(1, 3, 2)
            drawn.append(
                statistics.mean(
                    pairwise(made[f"palm-{seed}"][0][ids], made[f"palm-{seed}"][1][ood][oods])
                    - pairwise(made[f"cider-{seed}"][0][ids], made[f"cider-{seed}"][1][ood][oods])
                    for seed in seeds
                )
            )
        expected = np.quantile(drawn, [0.025, 0.975])
        width = expected[1] - expected[0]
        assert [float(found[ood].low), float(found[ood].high)] == pytest.approx(expected, abs=0.12 * width)


def test_scores_that_are_gone_are_named_with_what_to_do(evaluated):
    path = next(iter(evaluated))
    path.with_name("scores.npz").unlink()
    with pytest.raises(UserError, match=r"scores.npz can not be read: No such file(?s:.*)delete .*metrics.json"):
        paired.paired_differences([*evaluated], "", resamples=3)


def test_one_pair_has_an_interval_over_images_alone(evaluated):
    one = [path for path in evaluated if path.parent.name.endswith("-1")]
    alone, both = (paired.paired_differences(paths, "", resamples=300) for paths in (one, [*evaluated]))
    assert {row.runs for row in alone} == {1} and all(row.low < row.auroc < row.high for row in alone)
    assert [row.ood for row in alone] == [row.ood for row in both] and not paired.paired_differences(one[1:], "")


def test_the_table_has_a_line_for_each_method_and_score_and_keeps_benchmarks_apart():
    row = Difference(
        **dict(method="supcon", arch="resnet18", width=64, id="CIFAR-10", benchmark="openood"),
        **dict(score="ssd", epochs=100, positive="OOD", id_images=9000, train_images=50000, ood="TIN"),
        **dict(runs=3, auroc=Decimal("1.5"), low=Decimal("-0.25"), high=Decimal("3")),
    )
    given = [row, *(rows.replace(row, ood=ood) for ood in ("near", "far")), rows.replace(row, method="palm")]
    given += [rows.replace(row, benchmark="cider", positive="ID", ood="dtd")]
    first, second = tables(given)
    assert first.head == ["method", "runs", "TIN", "near", "far"] and second.head == ["method", "runs", "dtd"]
    cell = "+1.50 [-0.25, +3.00]"
    assert first.body == [["SSD+ (SupCon)", "3", cell, cell, cell], ["PALM (SSD)", "3", cell, "", ""]]
    assert "minus CIDER's" in first.heading and "95 % interval" in first.footer[0]
