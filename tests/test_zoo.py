"""Models by name: the tracked one, one that is served, names that are not there, torch.hub, detect.py --model."""

import hashlib

import pytest
import torch
from PIL import Image

from models.cider import CIDERNet
from tests.test_detect import run_detect
from utils import zoo
from utils.checkpoint import load_checkpoint, official_format, save
from utils.errors import UserError, WrongUsage
from utils.files import REPOSITORY, file_sha256

NAME = "cifar10/cider/resnet18-e500-s4"


@pytest.mark.parametrize("name", zoo.list_models())
def test_files_of_a_tracked_model_are_the_ones_with_the_hashes_that_are_known(name):
    model = zoo.MODELS[name]
    assert {file: file_sha256(REPOSITORY / model.place / file) for file in model.files} == model.files


def test_the_tracked_model_is_loaded_by_name_and_by_torch_hub():
    model = zoo.load_model(NAME)
    images = torch.randn(2, 3, 32, 32)
    expected = load_checkpoint(REPOSITORY / "checkpoints/CIFAR-10/cider_resnet18_e500_s4/checkpoint_500.pth.tar").model
    assert not model.training and model.features(images).shape == (2, 512)
    assert torch.equal(model(images), expected(images))
    by_hub = torch.hub.load(str(REPOSITORY), "cider_resnet18_cifar10", source="local")
    assert torch.equal(by_hub(images), expected(images))


def test_an_unknown_name_lists_what_there_is_nearest_first(monkeypatch):
    monkeypatch.setitem(zoo.MODELS, "digits/vos/wrn", zoo.MODELS[NAME])
    with pytest.raises(WrongUsage, match=f"no model digits/vos\n  there are  : digits/vos/wrn, {NAME}"):
        zoo.load_model("digits/vos")
    status, _, err = run_detect("--model", "cifar10/cider/resnet18-e50", "--images", "photos")
    assert status == 2 and f"there are  : {NAME}" in err


@pytest.fixture
def served(server, tmp_path, monkeypatch):
    """A small model at an address, under the name "served"; returns its network."""
    torch.manual_seed(0)
    network = CIDERNet(width=8, feat_dim=4, num_classes=3).eval()
    save(official_format(network, None, method="cider", epoch=1, args={}, class_names=()), tmp_path / "served.pth.tar")
    content = (tmp_path / "served.pth.tar").read_bytes()
    server.content["/models/served.pth.tar"] = content
    files = {"served.pth.tar": hashlib.sha256(content).hexdigest()}
    monkeypatch.setitem(zoo.MODELS, "served", zoo.Model(server.address("/models"), files))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    return network


def test_a_model_at_an_address_is_fetched_once(served, server, tmp_path):
    images = torch.randn(2, 3, 32, 32)
    for _ in range(2):
        assert torch.equal(zoo.load_model("served")(images), served(images))
    path = tmp_path / "cache" / "hub" / "checkpoints" / "served" / "served.pth.tar"
    assert zoo.model_file("served") == path and len(server.requests) == 1
    path.write_bytes(b"damaged")
    assert torch.equal(zoo.load_model("served")(images), served(images)) and len(server.requests) == 2


def test_a_file_with_another_checksum_is_refused_and_not_kept(served, server, tmp_path):
    server.content["/models/served.pth.tar"] = b"other bytes"
    with pytest.raises(UserError, match="(?s)model could not be fetched: wrong bytes.*looked for : http.*/served.pth"):
        zoo.load_model("served")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_detect_with_the_tracked_model_needs_no_data(tmp_path):
    rows = torch.arange(32) * 8
    striped = (rows[:, None] % 64 + rows[None] % 16).to(torch.uint8).expand(3, 32, 32)
    Image.fromarray(striped.permute(1, 2, 0).contiguous().numpy()).save(tmp_path / "stripes.png")
    status, out, err = run_detect("--model", NAME, "--images", tmp_path)
    assert status == 0, err
    assert "1 images: 0 ID, 1 OOD" in out and "KNN (K=10)" in out
    assert "95 % of 10,000 images of CIFAR-10 test reach" in out and not err
