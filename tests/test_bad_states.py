"""A last.pt whose checksum is right and whose content no training has written: one clear line, and nothing is lost."""

import shutil

import pytest
import torch
from training_runs import folder, run

from utils import checkpoint


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("finished")
    assert run(path, "--epochs", "2").status == 0
    return path


def with_optimizer(state, entry, value):
    changed = {**state["optimizer"]}
    if entry == "lr":
        changed["param_groups"] = [{**group, "lr": value} for group in changed["param_groups"]]
    else:
        changed["state"] = {**changed["state"], 0: {"momentum_buffer": value}}
    return {"optimizer": changed}


FAULTS = {
    "text in the optimizer": lambda state: with_optimizer(state, "momentum", "text"),
    "another shape in the optimizer": lambda state: with_optimizer(state, "momentum", torch.zeros(3)),
    "text for a rate": lambda state: with_optimizer(state, "lr", "text"),
    "infinite epoch": lambda state: {"epoch": float("inf")},
    "negative batch": lambda state: {"batch": -1},
    "no logs": lambda state: {"logs": {"log.jsonl": 5}},
    "no arguments": lambda state: {"args": [1]},
    "sparse weights": lambda state: {
        "modules": {"model": {name: value.to_sparse() for name, value in state["modules"]["model"].items()}}
    },
    "complex weights": lambda state: {
        "modules": {
            name: {key: value * 1j for key, value in module.items()} for name, module in state["modules"].items()
        }
    },
    "random numbers": lambda state: {"random": {**state["random"], "python": (3, (10**30,) * 625, None)}},
    "sums": lambda state: {"meter": {**state["meter"], "interval": torch.zeros(7)}},
    "counts": lambda state: {"meter": {**state["meter"], "counts": {"interval": "x", "epoch": 0}}},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_forged_state_is_one_clear_line(finished, tmp_path, fault):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    last = folder(tmp_path) / "last.pt"
    state = {**checkpoint.load(last), "finished": False, "epoch": 1}
    checkpoint.save({**state, **FAULTS[fault](state)}, last)
    before = last.read_bytes()
    outcome = run(tmp_path, "--epochs", "2")
    assert outcome.status == 1 and "Traceback" not in outcome.err, outcome.err
    assert outcome.err.count("error:") == 1 and len(outcome.err.splitlines()) <= 3
    assert last.read_bytes() == before
