"""The range that the demo is told to end in comes from the measured rows, and README shows the same."""

import json

import pytest

from scripts.demo_range import RUN, expected, read_rows, verdict
from tests.commands import REPOSITORY, here


def row(ood, seed, fpr95, auroc):
    return dict(ood=ood, seed=seed, fpr95=fpr95, auroc=auroc, instructions="avx2", threads="1", cpu="a")


ROWS = [row("near", "1", "9.50", "97.00"), row("near", "2", "20.03", "95.10"), row("far", "1", "0.00", "100.00")]


def test_the_range_is_that_of_all_runs_in_the_order_of_the_numbers():
    assert expected(ROWS) == {
        "near": "FPR95 9.50 to 20.03, AUROC 95.10 to 97.00",
        "far": "FPR95 0.00 to 0.00, AUROC 100.00 to 100.00",
    }


@pytest.mark.parametrize(
    ("fpr95", "auroc", "outside"),
    [(0.2003, 0.951, False), (0.01, 0.99, False), (0.2004, 0.97, True), (0.1, 0.9509, True), (0.20034, 0.95096, False)],
)
def test_figures_worse_than_those_of_any_run_lie_outside(fpr95, auroc, outside):
    said = verdict(ROWS, {"near": {"fpr95": fpr95, "auroc": auroc}, "far": {"fpr95": 0.0, "auroc": 1.0}})
    assert "What 2 runs came to" in said
    assert ("Worse than any of them: near." in said) == outside
    assert said.endswith("This one is as it should be.") != outside


def test_every_measured_run_lies_in_the_range_and_both_kinds_of_cpu_are_there():
    rows = read_rows()
    runs = {}
    for each in rows:
        metrics = {"fpr95": float(each["fpr95"]) / 100, "auroc": float(each["auroc"]) / 100}
        runs.setdefault(tuple(each[key] for key in RUN), {})[each["ood"]] = metrics
    whole = [metrics for metrics in runs.values() if len(metrics) == len(expected(rows))]  # one is known in part
    assert len(whole) >= len(runs) - 1
    for metrics in whole:
        assert verdict(rows, metrics).endswith("This one is as it should be.")
    assert {each["instructions"] for each in rows} >= {"avx2", "avx512"} and len({each["threads"] for each in rows}) > 1
    assert all(each["command"].count("scripts/demo.sh") == 1 for each in rows)


def test_readme_shows_the_measured_range():
    text = " ".join((REPOSITORY / "README.md").read_text(encoding="utf-8").split())
    for name, words in expected(read_rows()).items():
        assert f"{name}: {words}" in text


def test_the_last_evaluation_is_judged(tmp_path):
    done = here("scripts/demo_range.py", tmp_path)
    assert done.returncode == 1 and "no evaluation found" in done.stderr
    (tmp_path / "eval_30").mkdir()
    ood = {name: {"fpr95": 0.0, "auroc": 1.0} for name in expected(read_rows())}
    (tmp_path / "eval_30" / "metrics.json").write_text(json.dumps({"ood": ood}))
    done = here("scripts/demo_range.py", tmp_path)
    assert done.returncode == 0 and done.stdout.endswith("This one is as it should be.\n")
