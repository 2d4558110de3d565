"""Every encoder by its name, and what the networks that stand on one have in common."""

from typing import Any

import torch
from torch import Tensor, nn

from models.archs import ARCHS, BOTTLENECK_ARCHS, CIFAR_BLOCKS, DENSENETS, IMAGENET_ARCHS, WIDE_RESNETS
from models.densenet import DenseNet
from models.resnet import CIFARResNet, imagenet_resnet
from models.wideresnet import WideResNet

IMAGENET_LAYER4 = 7  # position of layer4 among the children of torchvision's ResNet


def build_encoder(
    arch: str, *, stem: str = "cifar", width: int = 64, dropout: float = 0.0, pretrained: bool = False
) -> tuple[nn.Module, int]:
    """The encoder of that name and D, the number of its features.

    Args:
        arch: one of ARCHS.
        stem: "cifar", or for resnet34 and resnet50 "imagenet": torchvision's network.
        width: channels of the first stage, at least 8, for ResNets with the CIFAR stem; all others have their own.
        dropout: for the WRNs.
        pretrained: torchvision's ImageNet weights, for the ImageNet stem.
    Returns:
        a module (N, 3, H, W) -> (N, D), or (N, D, 1, 1) with the ImageNet stem; and D.
    Raises:
        ValueError: an unknown name, or settings that do not fit together.
        OSError: the ImageNet weights cannot be had.
    """
    _check(arch, stem, width, dropout, pretrained)
    if stem == "imagenet":
        return imagenet_resnet(arch, pretrained=pretrained), 2048 if arch in BOTTLENECK_ARCHS else 512
    if arch in WIDE_RESNETS:
        encoder = WideResNet(*WIDE_RESNETS[arch], dropout)
    elif arch in DENSENETS:
        encoder = DenseNet(*DENSENETS[arch])
    else:
        encoder = CIFARResNet(arch, width)
    for module in encoder.modules():
        # On the meta device there is nothing to draw, and to try would load PyTorch's compiler, a second of imports.
        if isinstance(module, nn.Conv2d) and not module.weight.is_meta:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return encoder, encoder.out_features


def _check(arch: str, stem: str, width: int, dropout: float, pretrained: bool) -> None:
    if arch not in ARCHS:
        raise ValueError(f"unknown architecture {arch!r}; choose from {', '.join(ARCHS)}")
    if stem not in ("cifar", "imagenet"):
        raise ValueError(f"unknown stem {stem!r}; choose from cifar, imagenet")
    if stem == "imagenet" and arch not in IMAGENET_ARCHS:
        raise ValueError(f"the imagenet stem has {' and '.join(IMAGENET_ARCHS)}, not {arch}")
    if stem == "cifar" and pretrained:
        raise ValueError("there are no pretrained weights for the cifar stem")
    if width != 64 and (stem == "imagenet" or arch not in CIFAR_BLOCKS):
        raise ValueError("width belongs to the ResNets with the cifar stem; the other encoders have their own")
    if dropout and arch not in WIDE_RESNETS:
        raise ValueError(f"dropout belongs to {', '.join(WIDE_RESNETS)}; {arch} has none")


class Network(nn.Module):
    """What the networks share: an encoder, and all outputs of an image from one pass.

    Args:
        config: the constructor's arguments that rebuild the network, "arch", "stem" and "width" among them.
        freeze: what comes before the last stage of the ImageNet encoder is not trained, and keeps its batch-norm
            statistics in train mode, too.
    Attributes:
        embedding_dim: D, number of the penultimate features.
    """

    def __init__(
        self, config: dict[str, Any], *, pretrained: bool = False, dropout: float = 0.0, freeze: bool = False
    ) -> None:
        super().__init__()
        shape = {name: config[name] for name in ("arch", "stem", "width")}
        self.encoder, self.embedding_dim = build_encoder(**shape, dropout=dropout, pretrained=pretrained)
        self.config = config
        self._frozen = freeze
        if freeze:
            self.encoder[:IMAGENET_LAYER4].requires_grad_(False).eval()

    def outputs(self, x: Tensor) -> dict[str, Tensor]:
        """All that an evaluation needs of images (N, 3, H, W): what `outputs_from_penultimate` has."""
        return self.outputs_from_penultimate(self.penultimate(x))

    def penultimate(self, x: Tensor) -> Tensor:
        """Penultimate features (N, D), not normalised."""
        return full_precision(self._encode(x))

    features = penultimate

    def train(self, mode: bool = True) -> "Network":
        """Set train or eval mode; what is frozen stays in eval mode."""
        super().train(mode)
        if self._frozen:
            self.encoder[:IMAGENET_LAYER4].eval()
        return self

    def _encode(self, x: Tensor) -> Tensor:
        return self.encoder(x).flatten(1)


def full_precision(x: Tensor) -> Tensor:
    """float32 where autocast gave half precision; float64 stays."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def outside_autocast(layer: nn.Module, x: Tensor) -> Tensor:
    """layer(x), not in half precision."""
    with torch.autocast(x.device.type, enabled=False):
        return layer(x)
