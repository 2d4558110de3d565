"""WRN and DenseNet-BC against the official networks: names, shapes, values; and what the table of encoders refuses."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from models.archs import ARCHS
from models.densenet import DenseNet
from models.encoders import build_encoder
from models.wideresnet import WideBlock, WideResNet
from tests.golden_rules import GOLDEN, fill_by_rule

KEYS = json.loads((GOLDEN / "state_dict_keys_vos_mcd.json").read_text())


def test_names_and_shapes_are_the_official_ones() -> None:
    with torch.device("meta"):
        wide, dense = WideResNet(40, 2), DenseNet(100, 12)
    official = {name: shape for name, shape in KEYS["wrn-40-2/10"].items() if not name.startswith("fc.")}
    assert {name: list(tensor.shape) for name, tensor in wide.state_dict().items()} == official
    official = KEYS["densenet-bc-100-12/encoder"]
    assert {name: list(tensor.shape) for name, tensor in dense.state_dict().items()} == official


def test_wrn_equals_the_official_network() -> None:
    golden = np.load(GOLDEN / "vos.npz")
    # The rule fills by the rank of a name, so the classifier's names have to be among them.
    filled = fill_by_rule({name: torch.empty(shape) for name, shape in KEYS["wrn-40-2/10"].items()})
    classifier = filled.pop("fc.weight"), filled.pop("fc.bias")
    model = WideResNet(40, 2, dropout=0.3)
    model.load_state_dict(filled)
    with torch.no_grad():
        features = model.eval()(torch.from_numpy(golden["input"]))
    expected = torch.from_numpy(golden["wrn-40-2/penultimate"])
    torch.testing.assert_close(features, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    expected = torch.from_numpy(golden["wrn-40-2/logits"])
    torch.testing.assert_close(
        F.linear(features, *classifier), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max())
    )


def test_densenet_equals_the_official_network() -> None:
    golden = np.load(GOLDEN / "mcd.npz")
    model = DenseNet(100, 12)
    model.load_state_dict(fill_by_rule(model.state_dict()))
    with torch.no_grad():
        features = model.eval()(torch.from_numpy(golden["input"]))
    expected = torch.from_numpy(golden["densenet-bc-100-12/features"])
    torch.testing.assert_close(features, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_dropout_acts_in_training_only_and_between_the_convolutions() -> None:
    torch.manual_seed(0)
    block = WideBlock(4, 4, 1, dropout=1.0)
    x = torch.randn(2, 4, 8, 8)
    torch.testing.assert_close(block(x), x)  # all dropped: the shortcut alone is left
    assert not torch.allclose(block.eval()(x), x)


@pytest.mark.parametrize("arch", [*ARCHS, "resnet34/imagenet", "resnet50/imagenet"])
def test_every_encoder_gives_the_features_that_it_announces(arch: str) -> None:
    arch, _, stem = arch.partition("/")
    with torch.device("meta"):
        encoder, dim = build_encoder(arch, stem=stem or "cifar")
        assert encoder(torch.empty(2, 3, 32, 32)).flatten(1).shape == (2, dim)


def test_other_image_sizes_work() -> None:
    for encoder in (WideResNet(10, 1), DenseNet(10, 4)):
        assert encoder.eval()(torch.randn(2, 3, 20, 28)).shape == (2, encoder.out_features)


@pytest.mark.parametrize(("kwargs", "reason"), [
    ({"arch": "wrn-40"}, "choose from wrn-40-2, wrn-28-10, densenet-bc-100-12, resnet18"),
    ({"arch": "resnet18", "stem": "patch"}, "choose from cifar, imagenet"),
    ({"arch": "wrn-40-2", "stem": "imagenet"}, "resnet34 and resnet50, not wrn-40-2"),
    ({"arch": "resnet34", "pretrained": True}, "no pretrained weights"),
    ({"arch": "wrn-40-2", "width": 16}, "width belongs"),
    ({"arch": "resnet34", "stem": "imagenet", "width": 16}, "width belongs"),
    ({"arch": "resnet18", "width": 7}, "at least 8"),
    ({"arch": "densenet-bc-100-12", "dropout": 0.3}, "dropout belongs"),
])  # fmt: skip
def test_wrong_settings_are_refused(kwargs: dict, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        build_encoder(**kwargs)
