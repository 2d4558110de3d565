"""MCDNet against the author's encoder, its names, its two heads, and what is refused."""

import copy
import json

import numpy as np
import pytest
import torch

from models.archs import ARCHS, CIFAR_BLOCKS
from models.foreign import config_from_state_dict
from models.mcd import MCDNet
from tests.golden_rules import GOLDEN, fill_by_rule
from utils.checkpoint import load_checkpoint, official_format, save

KEYS = json.loads((GOLDEN / "state_dict_keys_vos_mcd.json").read_text())["densenet-bc-100-12/encoder"]
HEADS = {"head1.weight", "head1.bias", "head2.weight", "head2.bias"}


@pytest.fixture
def small() -> MCDNet:
    torch.manual_seed(0)
    return MCDNet("resnet18", 3, width=8).eval()


def test_densenet_features_equal_the_author_s() -> None:
    golden = np.load(GOLDEN / "mcd.npz")
    model = MCDNet().eval()
    model.encoder.load_state_dict(fill_by_rule({name: torch.empty(shape) for name, shape in KEYS.items()}))
    expected = torch.from_numpy(golden["densenet-bc-100-12/features"])
    with torch.no_grad():
        found = model.features(torch.from_numpy(golden["input"]))
    assert found.shape == (4, 342)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_state_dict_is_the_encoder_under_one_prefix_and_two_heads() -> None:
    shapes = {name: list(tensor.shape) for name, tensor in MCDNet().state_dict().items()}
    assert shapes.keys() == {f"encoder.{name}" for name in KEYS} | HEADS
    assert all(shapes[f"encoder.{name}"] == shape for name, shape in KEYS.items())


@pytest.mark.parametrize(("kwargs", "dim"), [
    ({"arch": "wrn-28-10"}, 640),
    ({"arch": "resnet18"}, 512),
    ({"arch": "resnet50", "num_classes": 7}, 2048),
    ({"arch": "resnet34", "stem": "imagenet"}, 512),
    ({"arch": "resnet18", "width": 16}, 128),
])  # fmt: skip
def test_encoders_rebuild_from_their_config(kwargs: dict, dim: int) -> None:
    with torch.device("meta"):
        model = MCDNet(**kwargs)
        again = MCDNet(**model.config)
    assert model.embedding_dim == dim == model.head1.in_features
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in again.state_dict().items()}
    assert {name for name in shapes if not name.startswith("encoder.")} == HEADS


def test_heads_are_drawn_independently(small: MCDNet) -> None:
    first, second = small.head1.weight.flatten(), small.head2.weight.flatten()
    assert not torch.equal(first, second)
    assert torch.corrcoef(torch.stack([first, second]).detach())[0, 1].abs() < 0.5


def test_the_views_of_one_pass_agree(small: MCDNet) -> None:
    images = torch.randn(2, 3, 32, 32)
    outputs, (first, second) = small.outputs(images), small(images)
    assert outputs.keys() == {"penultimate", "logits", "logits2"}
    torch.testing.assert_close(outputs["penultimate"], small.features(images))
    torch.testing.assert_close(outputs["logits"], first)
    torch.testing.assert_close(outputs["logits2"], second)
    torch.testing.assert_close(first, small.fc(outputs["penultimate"]))


def test_detached_features_keep_head_2_from_the_encoder(small: MCDNet) -> None:
    images = torch.randn(3, 3, 32, 32)
    small(images, detach2=True)[1].sum().backward()
    assert small.head2.weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in small.encoder.parameters())
    small(images)[1].sum().backward()
    assert all(parameter.grad is not None for parameter in small.encoder.parameters())


def test_autocast_gives_float32(small: MCDNet) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = small.outputs(torch.randn(2, 3, 32, 32))
    assert {tensor.dtype for tensor in outputs.values()} == {torch.float32}
    pair = copy.deepcopy(small).double()(torch.randn(1, 3, 32, 32, dtype=torch.float64))
    assert {tensor.dtype for tensor in pair} == {torch.float64}


@pytest.mark.parametrize("arch", ARCHS)
def test_config_is_read_from_names_and_shapes(arch: str) -> None:
    with torch.device("meta"):
        state_dict = MCDNet(arch, 7).state_dict()
    width = {"width": 64} if arch in CIFAR_BLOCKS else {}
    assert config_from_state_dict("MCDNet", state_dict) == {"arch": arch, "num_classes": 7, **width}
    state_dict["surplus"] = torch.empty(1)
    with pytest.raises(ValueError, match="first surplus"):
        config_from_state_dict("MCDNet", state_dict)
    with pytest.raises(ValueError, match="head1.weight is missing"):
        config_from_state_dict("MCDNet", {})


def test_a_checkpoint_rebuilds_it_with_and_without_its_description(small: MCDNet, tmp_path) -> None:
    content = official_format(small, None, method="mcd", epoch=2, args={}, class_names=("a", "b", "c"))
    save(content, tmp_path / "described.pth.tar")
    found = load_checkpoint(tmp_path / "described.pth.tar")
    assert (found.method.name, type(found.model), found.model.config) == ("mcd", MCDNet, small.config)
    full = MCDNet("resnet18", 3)
    torch.save({f"module.{name}": value for name, value in full.state_dict().items()}, tmp_path / "bare.pt")
    found = load_checkpoint(tmp_path / "bare.pt")
    assert found.method.name == "mcd" and torch.equal(found.model.head2.weight, full.head2.weight)


@pytest.mark.parametrize(("kwargs", "reason"), [
    ({"arch": "vgg"}, "choose from wrn-40-2"),
    ({"stem": "imagenet"}, "imagenet stem has"),
    ({"width": 16}, "width belongs to the ResNets"),
])  # fmt: skip
def test_wrong_settings_are_refused(kwargs: dict, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        MCDNet(**kwargs)
