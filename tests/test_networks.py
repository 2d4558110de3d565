"""CIDERNet against the official network: names, shapes, values, what is trained, and what is refused."""

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models import resnet
from models.cider import CIDERNet
from models.foreign import config_from_state_dict
from tests.golden_rules import GOLDEN, fill_by_rule

KEYS = json.loads((GOLDEN / "state_dict_keys.json").read_text())
NETWORKS = [name for name in KEYS if not name.endswith("trainable")]


def arguments(name: str) -> dict:
    arch, head, classes = name.split("/")
    stem = "imagenet" if arch.startswith("imagenet_") else "cifar"
    return {"arch": arch.removeprefix("imagenet_"), "head": head, "num_classes": int(classes), "stem": stem}


def filled(**kwargs: object) -> CIDERNet:
    model = CIDERNet(**kwargs)
    model.load_state_dict(fill_by_rule(model.state_dict()))
    return model.eval()


@pytest.fixture
def small() -> CIDERNet:
    return filled(width=8, feat_dim=8)


@pytest.mark.parametrize("name", NETWORKS)
def test_names_and_shapes_are_the_official_ones(name: str) -> None:
    with torch.device("meta"):
        state_dict = CIDERNet(**arguments(name)).state_dict()
    assert {key: list(tensor.shape) for key, tensor in state_dict.items()} == KEYS[name]


@pytest.mark.parametrize("name", NETWORKS)
def test_config_is_read_from_official_names(name: str) -> None:
    state_dict = {key: torch.empty(shape, device="meta") for key, shape in KEYS[name].items()}
    width = {} if "imagenet" in name else {"width": 64}
    assert config_from_state_dict("CIDERNet", state_dict) == {"feat_dim": 128, **width, **arguments(name)}


@pytest.mark.parametrize("name", NETWORKS)
def test_values_equal_the_official_network(name: str) -> None:
    golden = np.load(GOLDEN / "networks.npz")
    arch_and_head = name.rpartition("/")[0]
    images = torch.from_numpy(golden["imagenet_input" if "imagenet" in name else "input"])
    model = filled(**arguments(name))
    with torch.no_grad():
        outputs = model.outputs(images)
    found = {
        "embedding": outputs["embedding"],
        "penultimate": outputs["penultimate"],
        "penultimate_normalized": F.normalize(outputs["penultimate"], dim=1),
    }
    checked = [key for key in found if f"{arch_and_head}/{key}" in golden]
    assert len(checked) >= 2
    for key in checked:
        expected = torch.from_numpy(golden[f"{arch_and_head}/{key}"])
        torch.testing.assert_close(found[key], expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_imagenet_stem_trains_the_official_layers_only() -> None:
    model = CIDERNet("resnet34", num_classes=100, stem="imagenet")
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert sorted(trainable) == sorted(KEYS["imagenet_resnet34/trainable"])
    everything = CIDERNet("resnet34", stem="imagenet", train_layers="all")
    assert all(parameter.requires_grad for parameter in everything.parameters())


def test_frozen_batch_norms_keep_their_statistics() -> None:
    model = CIDERNet("resnet34", stem="imagenet").train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items() if "running_mean" in name}
    model(torch.randn(2, 3, 32, 32))
    after = model.state_dict()
    moved = {name.split(".")[1] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"7"}
    assert not model.encoder[1].training and model.encoder[7].training and model.head.training
    assert not model.eval().encoder[7].training


def test_the_views_of_one_pass_agree(small: CIDERNet) -> None:
    images = torch.randn(3, 3, 32, 32)
    outputs = small.outputs(images)
    torch.testing.assert_close(outputs["penultimate"], small.penultimate(images))
    torch.testing.assert_close(outputs["embedding"], small(images))
    torch.testing.assert_close(outputs["logits"], small.fc(outputs["penultimate"]))
    torch.testing.assert_close(small.features(images), F.normalize(outputs["penultimate"], dim=1))
    torch.testing.assert_close(small(images).norm(dim=1), torch.ones(3))
    assert outputs["penultimate"].shape == (3, small.embedding_dim) == (3, 64)


def test_autocast_gives_float32_and_float64_stays(small: CIDERNet) -> None:
    images = torch.randn(2, 3, 32, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = small.outputs(images)
        assert small(images).dtype == small.features(images).dtype == torch.float32
    assert {tensor.dtype for tensor in outputs.values()} == {torch.float32}
    torch.testing.assert_close(outputs["embedding"].norm(dim=1), torch.ones(2))
    assert small.double()(images.double()).dtype == torch.float64


@pytest.mark.parametrize("kwargs", [
    {"width": 8, "head": "linear", "feat_dim": 7, "num_classes": 3},
    {"width": 8, "arch": "resnet101"},
    {"stem": "imagenet", "arch": "resnet34", "train_layers": "all"},
])  # fmt: skip
def test_config_rebuilds_the_network(kwargs: dict) -> None:
    model = CIDERNet(**kwargs)
    again = CIDERNet(**model.config)
    again.load_state_dict(model.state_dict())
    assert again.config == model.config
    inferred = config_from_state_dict("CIDERNet", model.state_dict())
    assert inferred == {key: value for key, value in model.config.items() if key in inferred}


@pytest.mark.parametrize(("change", "reason"), [
    (lambda s: s.pop("fc.weight"), "fc.weight is missing"),
    (lambda s: s.pop("encoder.layer2.0.bn1.bias"), "encoder.layer2.0.bn1.bias"),
    (lambda s: s.update({"module.head.0.weight": torch.zeros(1)}), "module.head.0.weight"),
    (lambda s: [s.pop(name) for name in list(s) if "layer3.1" in name], "12 names are missing"),
    (lambda s: s.pop("encoder.conv1.weight"), "encoder.conv1.weight is missing"),
])  # fmt: skip
def test_foreign_state_dicts_are_refused_with_the_reason(change, reason: str, small: CIDERNet) -> None:
    state_dict = dict(small.state_dict())
    change(state_dict)
    with pytest.raises(ValueError, match=reason):
        config_from_state_dict("CIDERNet", state_dict)


@pytest.mark.parametrize(("kwargs", "reason"), [
    ({"arch": "resnet19"}, "choose from resnet18, resnet34, resnet50, resnet101"),
    ({"arch": "resnet18", "stem": "imagenet"}, "has resnet34 and resnet50, not resnet18"),
    ({"head": "conv"}, "choose from mlp, linear"),
    ({"stem": "patch"}, "choose from cifar, imagenet"),
    ({"train_layers": "layer4"}, "choose from None, 'all'"),
    ({"arch": "resnet34", "stem": "imagenet", "width": 32}, "width belongs to the ResNets with the cifar stem"),
    ({"width": 7}, "at least 8"),
    ({"pretrained": True}, "no pretrained weights"),
])  # fmt: skip
def test_wrong_settings_are_refused(kwargs: dict, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        CIDERNet(**kwargs)


def test_local_torchvision_weights(tmp_path) -> None:
    from torchvision.models import resnet34

    source = resnet34().eval()
    source.load_state_dict(fill_by_rule(source.state_dict()))
    torch.save(source.state_dict(), tmp_path / "resnet34.pth")
    model = CIDERNet("resnet34", stem="imagenet").eval()
    resnet.load_torchvision_weights(model.encoder, tmp_path / "resnet34.pth")
    source.fc = nn.Identity()
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(model.penultimate(images), source(images))

    other = CIDERNet("resnet50", stem="imagenet")
    with pytest.raises(ValueError, match="another architecture"):
        resnet.load_torchvision_weights(other.encoder, tmp_path / "resnet34.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "resnet34.pth").read_bytes()[:5000])
    with pytest.raises(ValueError, match="cut.pth is damaged"):
        resnet.load_torchvision_weights(model.encoder, tmp_path / "cut.pth")
    torch.save(torch.zeros(2), tmp_path / "tensor.pth")
    with pytest.raises(ValueError, match="conv1.weight is missing"):
        resnet.load_torchvision_weights(model.encoder, tmp_path / "tensor.pth")
    with pytest.raises(OSError, match="absent.pth"):
        resnet.load_torchvision_weights(model.encoder, tmp_path / "absent.pth")


def test_failed_download_names_the_way_out(monkeypatch) -> None:
    def unreachable(*args: object, **kwargs: object) -> None:
        raise OSError("network is unreachable")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)
    with pytest.raises(OSError, match="--weights FILE"):
        CIDERNet("resnet34", stem="imagenet", pretrained=True)
