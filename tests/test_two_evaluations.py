"""Two evaluations of one checkpoint at the same time leave what one leaves."""

import json
import sys
import threading
from contextlib import redirect_stderr, redirect_stdout

import numpy as np
import pytest
import torch

import eval_cider
from tests.training_runs import PROCESSES, TIME_LIMIT, folder, new_process, run
from utils import files
from utils.errors import run_script


def evaluate(checkpoints, output, barrier):
    """Run eval_cider.py; with `barrier`, every file is put in its place only when the other process is ready to."""
    torch.set_num_threads(1)
    if barrier is not None:
        replace = files.os.replace

        def together(source, target):
            try:
                barrier.wait(TIME_LIMIT)
            except threading.BrokenBarrierError:
                sys.exit("the other evaluation writes other files")
            replace(source, target)

        files.os.replace = together
    sys.argv = ["eval_cider.py", "--checkpoints", str(checkpoints), "--name", "run", "--device", "cpu", "--no-plots"]
    with open(output, "w") as stream, redirect_stdout(stream), redirect_stderr(stream):
        run_script(eval_cider.main)


def run_evaluations(checkpoints, count, barrier=None):
    outputs = [checkpoints / f"output{place}.txt" for place in range(count)]
    processes = [new_process(evaluate, (checkpoints, output, barrier)) for output in outputs]
    for process in processes:
        process.start()
    for process, output in zip(processes, outputs, strict=True):
        process.join(TIME_LIMIT)
        process.kill()
        process.join()
        assert process.exitcode == 0, output.read_text()
    return [output.read_text() for output in outputs]


def results(checkpoints):
    """Content of everything in the folder of the evaluation, without what says how it was run."""
    place = folder(checkpoints) / "eval_4"
    assert {path.name for path in place.iterdir()} >= {"metrics.json", "scores.npz", "table.txt"}
    found = {path.name: path.read_bytes() for path in place.iterdir()}
    metrics = json.loads(found.pop("metrics.json"))
    with np.load(place / "scores.npz", allow_pickle=False) as archive:
        scores = {name: archive[name].tolist() for name in archive.files}
    del found["scores.npz"]  # its archive has a date
    return found, {name: metrics[name] for name in ("ood", "mean", "id_accuracy", "geometry_degrees")}, scores


@pytest.fixture
def trained(tmp_path):
    assert run(tmp_path, "--epochs", "4", "--eval-freq", "0").status == 0
    return tmp_path


def test_two_evaluations_at_once_leave_what_one_leaves(trained):
    both = run_evaluations(trained, 2, PROCESSES.Barrier(2))
    found = results(trained)
    assert both[0] == both[1] and "could not be written" not in both[0]
    assert list(folder(trained).rglob("*.tmp")) == []
    # From the caches that the two wrote over each other, and then without them.
    assert run_evaluations(trained, 1) == [both[0]]
    assert results(trained) == found
    for cache in (folder(trained) / "features").iterdir():
        cache.unlink()
    assert run_evaluations(trained, 1) == [both[0]]
    assert results(trained) == found
