"""The trained network that is part of the repository: the very file, loadable, and nothing of one machine in it."""

import re

import numpy as np
import pytest

from utils.checkpoint import load, load_checkpoint
from utils.files import REPOSITORY, read_json
from utils.results.rows import read

FOLDER = REPOSITORY / "checkpoints" / "CIFAR-10" / "cider_resnet18_e100_s4"
SHA256 = "00d69e78b351b7b4e95e9d69c9ad18e9bcdd454852712b1090a8c08e9c0d34fd"


def test_it_loads_and_is_the_file_that_figures_are_of():
    found = load_checkpoint(FOLDER / "checkpoint_100.pth.tar")
    assert found.sha256 == SHA256 and SHA256 in (FOLDER / "card.md").read_text()
    assert (found.method.name, found.epoch, found.model.config["arch"], found.args["seed"]) == (
        "cider",
        100,
        "resnet18",
        4,
    )
    assert found.prototypes.shape == (10, 128) and found.class_names[0] == "airplane"
    assert found.args["input"] == {"size": 32, "mean": [0.491, 0.482, 0.447], "std": [0.247, 0.244, 0.262]}


def test_no_file_of_the_run_names_a_place_on_one_machine():
    for name in ("args.yaml", "env.json", "console.txt", "log.jsonl", "summary.csv", "card.md"):
        text = (FOLDER / name).read_text(encoding="utf-8")
        assert not re.search(r"(?<![\w.])(/[a-z]+/|~/|\.\./(?!\.\./))[a-z]", text.replace("../../../results", "")), name


def test_nothing_in_the_binary_files_names_a_place_on_one_machine():
    content = load(FOLDER / "checkpoint_100.pth.tar")
    with np.load(FOLDER / "checkpoint_100.reference.small.npz") as reference:
        texts = [str({name: value for name, value in content.items() if "state" not in name}), str(reference["about"])]
    for text in (*texts, *(path.read_text(encoding="utf-8") for path in FOLDER.glob("metrics_*.json"))):
        assert not re.findall(r"(?<!/)/(?:work|home|root|tmp|mnt|data|Users)\b[^\"]*", text)


@pytest.mark.parametrize("benchmark", ["cider", "openood"])
def test_the_card_has_the_numbers_of_the_rows_and_of_the_evaluation(benchmark):
    """To 0.01, set by set, with intervals that hold them; the small reference is within 0.3 on real sets."""
    found = read_json(FOLDER / f"metrics_{benchmark}.json")
    sections = (FOLDER / "card.md").read_text(encoding="utf-8").split("\n## ")
    (section,) = [
        each for each in sections if each.startswith(f"Results: {dict(cider='CIDER', openood='OpenOOD')[benchmark]}")
    ]
    lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")][1:]
    rows = [row for row in read() if SHA256.startswith(row.checkpoint_sha256) and row.benchmark == benchmark]
    assert [line[0] for line in lines] == list(found["ood"])
    for name, images, *cells in lines:
        whole, small = ([row for row in rows if (row.ood, row.K) == (name, k)] for k in (100, 10))
        assert len(whole) == len(small) == 1 and small[0].train_images == 5_000
        assert int(images.replace(",", "")) == found["ood"][name]["images"] == whole[0].images == small[0].images
        for metric, cell in zip(("fpr95", "auroc"), cells, strict=False):
            value, low, high = map(float, re.findall(r"[\d.]+", cell))
            assert (
                value == float(getattr(whole[0], metric)) == pytest.approx(100 * found["ood"][name][metric], abs=0.01)
            )
            assert low < value < high
        reduced, difference = map(float, re.findall(r"[-+]?[\d.]+", cells[2]))
        assert reduced == float(small[0].auroc) and difference == pytest.approx(reduced - value, abs=0.001)
        assert abs(difference) <= 0.3 or name == "uniform-noise"
