"""The benchmarks at tiny sizes: rows, targets, the files they end in, and that a GPU step waits for nothing."""

from dataclasses import replace

import pytest
import torch

from benchmarks import bench_step, report, run
from benchmarks.rows import FIELDS, make_row
from benchmarks.step_checks import steps_without_synchronisation
from utils.data.augment import TwoViews

CPU = torch.device("cpu")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", run.BENCHMARKS)
def test_every_benchmark_returns_rows(name) -> None:
    rows = run.BENCHMARKS[name](CPU, quick=True)
    assert rows
    for row in rows:
        assert tuple(row) == FIELDS
        assert row["ours_ms"] > 0
        assert row["ratio"] is None or row["ratio"] == row["baseline_ms"] / row["ours_ms"]
        assert row["met"] in ("", "yes", "no")


@pytest.mark.parametrize(
    ("target", "met"),
    [
        ({"times_as_fast": 4.9}, "yes"),
        ({"times_as_fast": 5.1}, "no"),
        ({"share_of_time": 0.21}, "yes"),
        ({"share_of_time": 0.19}, "no"),
        ({"limit_ms": 2.0}, "yes"),
        ({"limit_ms": 1.9}, "no"),
        ({"times_as_fast": 4.9, "holds": False}, "no"),
        ({}, ""),
    ],
)
def test_a_target_is_met_or_not(target, met) -> None:
    assert make_row("something", 2.0, "something else", 10.0, **target)["met"] == met


def test_only_the_whole_step_augments(monkeypatch) -> None:
    setting = replace(bench_step.QUICK[0], kinds=("whole", "ready", "bare"), block=2)
    applied = []
    apply = TwoViews.apply
    monkeypatch.setattr(TwoViews, "apply", lambda *args, **more: applied.append(1) or apply(*args, **more))
    times = bench_step.step_times(setting, CPU)
    assert times.keys() == {"whole", "ready", "bare"}
    turns = setting.turns + setting.warm_up
    assert len(applied) == 1 + setting.block * turns  # one batch is kept for the steps on a ready one


def test_rows_are_written_and_replaced_by_benchmark(tmp_path, capsys) -> None:
    assert run.main(["--quick", "--only", "knn", "prototypes", "--device", "cpu", "--out", str(tmp_path)]) == 0
    first = report.read(tmp_path / "cpu.csv")
    assert [row["benchmark"] for row in first] == ["knn", "knn", "prototypes", "prototypes"]
    assert capsys.readouterr().out.rstrip().splitlines()[-1].startswith("prototype update")
    assert run.main(["--quick", "--only", "knn", "--device", "cpu", "--out", str(tmp_path)]) == 0
    second = report.read(tmp_path / "cpu.csv")
    assert second[2:] == first[2:]
    assert second[0]["what"] == first[0]["what"]
    assert list(tmp_path.iterdir()) == [tmp_path / "cpu.csv"]


def test_a_benchmark_that_breaks_off_leaves_the_rows_of_the_others(tmp_path, monkeypatch, capsys) -> None:
    def broken(device, *, quick):
        raise RuntimeError("out of luck")

    monkeypatch.setitem(run.BENCHMARKS, "prototypes", broken)
    assert run.main(["--quick", "--only", "prototypes", "knn", "--device", "cpu", "--out", str(tmp_path)]) == 1
    assert [row["benchmark"] for row in report.read(tmp_path / "cpu.csv")] == ["knn", "knn"]
    assert "out of luck" in capsys.readouterr().err


def test_a_table_that_cannot_be_finished_leaves_the_old_one(tmp_path) -> None:
    path = tmp_path / "cpu.csv"
    report.write(path, [{"benchmark": "knn"}])
    before = path.read_bytes()
    with pytest.raises(ValueError, match="unknown"):
        report.write(path, [{"benchmark": "step"}, {"unknown": "column"}])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_readme_shows_the_figures_of_the_csv_files() -> None:
    text = report.README.read_text(encoding="utf-8")
    shown = text[text.index(report.BEGIN) + len(report.BEGIN) : text.index(report.END)]
    assert shown == report.figures()
    names = [line.split("`")[1] for line in text[: text.index(report.BEGIN)].splitlines() if line.startswith("| `")]
    assert names == list(run.BENCHMARKS)


@pytest.mark.parametrize("options", [["--device", "tpu"], ["--only", "nothing"], ["--threads", "0"]])
def test_wrong_options_are_refused(options, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        run.main(options)
    assert stopped.value.code == 2
    assert options[0] in capsys.readouterr().err


@needs_gpu
@pytest.mark.parametrize("compiled", [[], ["--compile"]], ids=["eager", "recorded"])
@pytest.mark.parametrize("loss", ["cider", "supcon", "palm"])
def test_no_step_waits_for_the_gpu(loss, compiled) -> None:
    options = ["--width", "8", "--batch-size", "16", "--amp", "bf16", "--channels-last", "--loss", loss, *compiled]
    steps_without_synchronisation(options, torch.device("cuda"))
