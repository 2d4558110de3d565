"""Every Python block of README.md and docs/ runs as it stands, and every script and file that they name is there."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from models.cider import CIDERNet
from tests.commands import REPOSITORY
from utils.checkpoint import official_format, save
from utils.cli.settings import usual_settings
from utils.detection.reference import Reference, reference_path, save_reference
from utils.files import file_sha256

README = REPOSITORY / "README.md"
PAGES = {path: path.read_text(encoding="utf-8") for path in (README, *sorted((REPOSITORY / "docs").glob("*.md")))}
TEXT = "\n".join(PAGES.values())
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
CHECKPOINT = re.search(r'load_detector\("(.+?)"\)', TEXT)[1]


@pytest.fixture
def after_the_demo(tmp_path, monkeypatch):
    """A folder with what the demo leaves behind, small and untrained, as the place where the reader types."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    model = CIDERNet(num_classes=6, width=8)
    path = tmp_path / CHECKPOINT
    save(official_format(model, None, method="supcon", epoch=40, args={}, class_names=tuple("012345")), path)
    features = torch.randn(20, model.embedding_dim)
    reference = Reference(
        score="knn", k=2, bank=features, bank_labels=torch.zeros(20, dtype=torch.int64), held_out=features,
        source="a test", class_names=tuple("012345"), mean=(0.5,) * 3, std=(0.5,) * 3, size=32,
        checkpoint_sha256=file_sha256(path),
    )  # fmt: skip
    save_reference(reference_path(path), reference)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)).save("photo.png")


def test_there_are_blocks_to_run():
    assert len(BLOCKS) >= 3
    assert any("load_detector" in block for block in BLOCKS)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.strip().splitlines()[-1][:40])
def test_python_block_runs(block, after_the_demo, capsys):
    exec(compile(block, "README.md", "exec"), {"__name__": "readme"})
    if match := re.search(r"AUROC ([\d.]+)", capsys.readouterr().out):
        assert float(match[1]) > 95  # random features, but those of ID images stand together


def test_the_checkpoint_that_is_named_is_the_one_that_the_demo_leaves():
    epochs = {int(epoch) for epoch in re.findall(r"digits/demo/checkpoint_(\d+)", TEXT)}
    assert epochs == {usual_settings("cider", "digits")["epochs"]}


def test_scripts_and_flags_in_the_readme_exist():
    commands = re.findall(r"^(?:sh|python|torchrun .*?) ((?:scripts/)?\w+\.(?:sh|py))\b([^#\n]*)", TEXT, re.MULTILINE)
    assert {script for script, _ in commands} >= {"train_cider.py", "eval_cider.py", "detect.py", "scripts/demo.sh"}
    sources = [REPOSITORY / "utils", *REPOSITORY.glob("*.py"), *REPOSITORY.glob("scripts/*.py")]
    spelled = "\n".join(
        path.read_text(encoding="utf-8") for source in sources for path in (sorted(source.rglob("*.py")) or [source])
    )
    for script, arguments in commands:
        assert (REPOSITORY / script).is_file(), script
        for flag in re.findall(r"(?<!\S)--([a-zA-Z][\w-]*)", arguments):
            assert re.search(rf'"--{re.sub("[-_]", "[-_]", flag)}"', spelled), f"{script} has no --{flag}"


def headings(text):
    """The anchors of a page's headings, as GitHub makes them."""
    words = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in words}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_headings_that_a_page_links_to_exist(page):
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", PAGES[page]):
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        assert not anchor or anchor in headings(found.read_text(encoding="utf-8")), target


def test_the_readme_is_short_and_lists_every_page():
    assert len(PAGES[README].splitlines()) <= 220
    assert not [page.name for page in PAGES if page != README and f"](docs/{page.name})" not in PAGES[README]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_of_the_code_that_a_page_names_exist(page):
    named = re.findall(r"`((?:utils|models|scripts|results|benchmarks)/[\w/.]+)`", PAGES[page])
    assert not [path for path in named if not (REPOSITORY / path).exists()]


def test_every_key_of_an_evaluation_is_explained():
    explained = set(re.findall(r"`(\w+)`", PAGES[REPOSITORY / "docs" / "outputs.md"]))
    for path in sorted((REPOSITORY / "checkpoints/CIFAR-10").glob("cider_resnet18_e*/metrics_*.json")):
        assert not json.loads(path.read_text(encoding="utf-8")).keys() - explained, path
