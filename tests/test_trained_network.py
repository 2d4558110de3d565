"""The trained network that is part of the repository: the very file, loadable, and nothing of one machine in it."""

import re

from utils.checkpoint import load_checkpoint
from utils.files import REPOSITORY

FOLDER = REPOSITORY / "checkpoints" / "CIFAR-10" / "cider_resnet18_e100_s4"
SHA256 = "00d69e78b351b7b4e95e9d69c9ad18e9bcdd454852712b1090a8c08e9c0d34fd"


def test_it_loads_and_is_the_file_that_figures_are_of():
    found = load_checkpoint(FOLDER / "checkpoint_100.pth.tar")
    assert found.sha256 == SHA256 and SHA256 in (FOLDER / "README.md").read_text()
    assert (found.method.name, found.epoch, found.model.config["arch"], found.args["seed"]) == (
        "cider",
        100,
        "resnet18",
        4,
    )
    assert found.prototypes.shape == (10, 128) and found.class_names[0] == "airplane"
    assert found.args["input"] == {"size": 32, "mean": [0.491, 0.482, 0.447], "std": [0.247, 0.244, 0.262]}


def test_no_file_of_the_run_names_a_place_on_one_machine():
    for name in ("args.yaml", "env.json", "console.txt", "log.jsonl", "summary.csv", "README.md"):
        text = (FOLDER / name).read_text(encoding="utf-8")
        assert not re.search(r"(?<![\w.])(/[a-z]+/|~/|\.\./(?!\.\./))[a-z]", text.replace("../../../results", "")), name
