"""The table of encoders: what each gives, and what is refused; the networks' tests have the official values."""

import pytest
import torch

from models.archs import ARCHS
from models.densenet import DenseNet
from models.encoders import build_encoder
from models.wideresnet import WideBlock, WideResNet


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
