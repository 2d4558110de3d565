"""VOSNet against the official network and its files; bottleneck, precision, freezing, and what is refused."""

import copy
import json

import numpy as np
import pytest
import torch
from torch import Tensor

from models.foreign import config_from_state_dict
from models.vos import VOSNet
from tests.golden_rules import GOLDEN, fill_by_rule

KEYS = json.loads((GOLDEN / "state_dict_keys_vos_mcd.json").read_text())["wrn-40-2/10"]
OWN = {"energy", "logistic.weight", "logistic.bias"}


def official_wrn() -> dict[str, Tensor]:
    return fill_by_rule({name: torch.empty(shape) for name, shape in KEYS.items()})


@pytest.fixture
def small() -> VOSNet:
    torch.manual_seed(0)
    return VOSNet("resnet18", 3, feat_dim=6, width=8).eval()


def test_official_files_load_and_give_the_official_outputs() -> None:
    golden = np.load(GOLDEN / "vos.npz")
    model = VOSNet().eval()
    result = model.load_state_dict(official_wrn(), strict=False)
    assert result.unexpected_keys == [] and set(result.missing_keys) == OWN
    with torch.no_grad():
        outputs = model.outputs(torch.from_numpy(golden["input"]))
    for name in ("logits", "penultimate"):
        expected = torch.from_numpy(golden[f"wrn-40-2/{name}"])
        torch.testing.assert_close(outputs[name], expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize(("kwargs", "extra"), [
    ({}, set()),
    ({"arch": "densenet-bc-100-12", "num_classes": 7}, set()),
    ({"arch": "resnet34", "stem": "imagenet", "feat_dim": 64}, {"bottleneck"}),
])  # fmt: skip
def test_state_dict_names_have_no_prefix_and_round_trip(kwargs: dict, extra: set) -> None:
    model, again = VOSNet(**kwargs), VOSNet(**VOSNet(**kwargs).config)
    state_dict = model.state_dict()
    again.load_state_dict(state_dict)
    assert again.config == model.config
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in state_dict.items())
    first = {name.split(".")[0] for name in state_dict}
    assert "encoder" not in first and {"fc", "energy", "logistic"} | extra <= first
    inside = torch.nn.ModuleDict({"model": model})  # as in a wrapper
    assert inside.state_dict().keys() == {f"model.{name}" for name in state_dict}
    inside.load_state_dict(inside.state_dict())
    copy.deepcopy(model).load_state_dict(state_dict)


def test_default_network_has_the_official_names_and_three_more() -> None:
    shapes = {name: list(tensor.shape) for name, tensor in VOSNet().state_dict().items()}
    assert {name: shape for name, shape in shapes.items() if name not in OWN} == KEYS
    assert OWN <= shapes.keys()


def test_without_uncertainty_there_are_no_numbers_that_nobody_trained() -> None:
    model = VOSNet(uncertainty=False)
    model.load_state_dict(official_wrn())  # strictly
    assert model.energy is None and model.logistic is None and model.uncertainty_parameters() == []
    shapes = [tuple(parameter.shape) for parameter in VOSNet(num_classes=7).uncertainty_parameters()]
    assert shapes == [(7,), (2, 1), (2,)]


@pytest.mark.parametrize("arch", ["wrn-40-2", "wrn-28-10", "densenet-bc-100-12"])
def test_config_is_read_from_names_and_shapes(arch: str) -> None:
    with torch.device("meta"):
        state_dict = VOSNet(arch, 7).state_dict()
    assert config_from_state_dict("VOSNet", state_dict) == {"arch": arch, "num_classes": 7, "uncertainty": True}
    official = {name: value for name, value in state_dict.items() if name not in OWN}
    assert config_from_state_dict("VOSNet", official) == {"arch": arch, "num_classes": 7, "uncertainty": False}
    official.pop("bn1.weight")
    with pytest.raises(ValueError, match="first bn1.weight"):
        config_from_state_dict("VOSNet", official)
    with pytest.raises(ValueError, match="fc.weight is missing"):
        config_from_state_dict("VOSNet", {})


def test_the_views_of_one_pass_agree(small: VOSNet) -> None:
    images = torch.randn(2, 3, 32, 32)
    outputs = small.outputs(images)
    torch.testing.assert_close(outputs["penultimate"], small.features(images))
    torch.testing.assert_close(outputs["logits"], small(images))
    torch.testing.assert_close(outputs["logits"], small.classify(outputs["penultimate"]))
    assert outputs["penultimate"].shape == (2, 6) == (2, small.embedding_dim)
    assert (outputs["penultimate"] >= 0).all()  # the bottleneck ends in a ReLU
    assert [type(layer).__name__ for layer in small.bottleneck] == ["BatchNorm1d", "Linear", "ReLU"]


def test_autocast_gives_float32_and_outliers_are_classified_in_it(small: VOSNet) -> None:
    features = torch.randn(4, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = small.outputs(torch.randn(2, 3, 32, 32))
        assert torch.equal(small.classify(features), small.classify(features.clone()))
        logits = small.classify(features)
    assert {tensor.dtype for tensor in outputs.values()} == {torch.float32}
    assert torch.equal(logits, small.fc(features))
    assert small.double()(torch.randn(1, 3, 32, 32, dtype=torch.float64)).dtype == torch.float64


def bottleneck_names(model: VOSNet) -> set[str]:
    return {name for name in model.state_dict() if name.startswith("bottleneck.")}


def test_frozen_stages_stay_as_they_are() -> None:
    model = VOSNet("resnet34", 2, feat_dim=8, stem="imagenet", train_layers="layer4").train()
    assert not model.encoder[1].training and model.encoder[7].training
    trained = {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {"encoder", "bottleneck", "fc", "energy", "logistic"}
    assert {n.split(".")[1] for n, p in model.encoder[:].named_parameters("encoder") if p.requires_grad} == {"7"}
    everything = VOSNet("resnet34", 2, stem="imagenet").train()
    assert model.state_dict().keys() == everything.state_dict().keys() | bottleneck_names(model)
    assert all(parameter.requires_grad for parameter in everything.parameters()) and everything.encoder[1].training


def test_dropout_is_the_papers_unless_told_otherwise() -> None:
    with torch.device("meta"):
        assert VOSNet().config["dropout"] == 0.3
        assert VOSNet(dropout=0.0).encoder.block1.layer[0].dropout == 0.0
        assert VOSNet("densenet-bc-100-12").config["dropout"] == 0.0


@pytest.mark.parametrize(("kwargs", "reason"), [
    ({"arch": "vgg"}, "choose from wrn-40-2"),
    ({"train_layers": "half"}, "choose from all, layer4"),
    ({"train_layers": "layer4"}, "belongs to the imagenet stem"),
    ({"arch": "resnet18", "dropout": 0.3}, "dropout belongs"),
])  # fmt: skip
def test_wrong_settings_are_refused(kwargs: dict, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        VOSNet(**kwargs)
