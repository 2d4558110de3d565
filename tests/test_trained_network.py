"""The trained networks that are part of the repository: the very files, loadable, nothing of one machine in them."""

import re

import numpy as np
import pytest

from utils.checkpoint import load, load_checkpoint
from utils.files import REPOSITORY, read_json
from utils.results.rows import read

SHA256 = {
    100: "00d69e78b351b7b4e95e9d69c9ad18e9bcdd454852712b1090a8c08e9c0d34fd",
    500: "36bb21eee0fb26e9258d2a54e47fbd9b191501e30077fb497fca5e8757e951b8",
}
WHOLE, SMALL = 50_000, 5_000  # training images behind the scores

every_network = pytest.mark.parametrize("epochs", SHA256)


def folder(epochs):
    return REPOSITORY / "checkpoints" / "CIFAR-10" / f"cider_resnet18_e{epochs}_s4"


@every_network
def test_it_loads_and_is_the_file_that_figures_are_of(epochs):
    found = load_checkpoint(folder(epochs) / f"checkpoint_{epochs}.pth.tar")
    assert found.sha256 == SHA256[epochs] and SHA256[epochs] in (folder(epochs) / "card.md").read_text()
    assert (found.method.name, found.epoch, found.model.config["arch"]) == ("cider", epochs, "resnet18")
    assert found.args["seed"] == 4
    assert found.prototypes.shape == (10, 128) and found.class_names[0] == "airplane"
    assert found.args["input"] == {"size": 32, "mean": [0.491, 0.482, 0.447], "std": [0.247, 0.244, 0.262]}


@every_network
def test_no_file_of_the_run_names_a_place_on_one_machine(epochs):
    for name in ("args.yaml", "env.json", "console.txt", "log.jsonl", "summary.csv", "card.md"):
        text = (folder(epochs) / name).read_text(encoding="utf-8")
        assert not re.search(r"(?<![\w.])(/[a-z]+/|~/|\.\./(?!\.\./))[a-z]", text.replace("../../../results", "")), name


@every_network
def test_nothing_in_the_binary_files_names_a_place_on_one_machine(epochs):
    content = load(folder(epochs) / f"checkpoint_{epochs}.pth.tar")
    with np.load(folder(epochs) / f"checkpoint_{epochs}.reference.small.npz") as reference:
        texts = [str({name: value for name, value in content.items() if "state" not in name}), str(reference["about"])]
    for text in (*texts, *(path.read_text(encoding="utf-8") for path in folder(epochs).glob("metrics_*.json"))):
        assert not re.findall(r"(?<!/)/(?:work|home|root|tmp|mnt|data|Users)\b[^\"]*", text)


@every_network
@pytest.mark.parametrize("benchmark", ["cider", "openood"])
def test_the_card_has_the_numbers_of_the_rows_and_of_the_evaluation(epochs, benchmark):
    """To 0.01, set by set, with intervals that hold them; the small reference is within 0.3 on real sets."""
    found = read_json(folder(epochs) / f"metrics_{benchmark}.json")
    sections = (folder(epochs) / "card.md").read_text(encoding="utf-8").split("\n## ")
    (section,) = [
        each for each in sections if each.startswith(f"Results: {dict(cider='CIDER', openood='OpenOOD')[benchmark]}")
    ]
    lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")][1:]
    rows = [row for row in read() if row.checkpoint_sha256 and SHA256[epochs].startswith(row.checkpoint_sha256)]
    rows = [row for row in rows if (row.benchmark, row.score) == (benchmark, "knn")]
    assert [line[0] for line in lines] == list(found["ood"])
    for name, images, *cells in lines:
        whole, small = (
            [row for row in rows if (row.ood, row.train_images) == (name, count)] for count in (WHOLE, SMALL)
        )
        assert len(whole) == len(small) == 1
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
