"""Every encoder by its name, for the networks that offer more than CIDER's: WRN, DenseNet-BC, ResNets of both stems."""

import torch
from torch import Tensor, nn

from models.archs import ARCHS, BOTTLENECK_ARCHS, CIFAR_BLOCKS, DENSENETS, IMAGENET_ARCHS, WIDE_RESNETS
from models.densenet import DenseNet
from models.resnet import CIFARResNet, imagenet_resnet
from models.wideresnet import WideResNet


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
    if arch not in ARCHS:
        raise ValueError(f"unknown architecture {arch!r}; choose from {', '.join(ARCHS)}")
    if stem not in ("cifar", "imagenet"):
        raise ValueError(f"unknown stem {stem!r}; choose from cifar, imagenet")
    if stem == "imagenet" and arch not in IMAGENET_ARCHS:
        raise ValueError(f"the imagenet stem has {' and '.join(IMAGENET_ARCHS)}, not {arch}")
    if pretrained and stem == "cifar":
        raise ValueError("there are no pretrained weights for the cifar stem")
    if width != 64 and (stem == "imagenet" or arch not in CIFAR_BLOCKS):
        raise ValueError("width belongs to the ResNets with the cifar stem; the other encoders have their own")
    if dropout and arch not in WIDE_RESNETS:
        raise ValueError(f"dropout belongs to {', '.join(WIDE_RESNETS)}; {arch} has none")
    if stem == "imagenet":
        return imagenet_resnet(arch, pretrained=pretrained), 2048 if arch in BOTTLENECK_ARCHS else 512
    if arch in WIDE_RESNETS:
        encoder = WideResNet(*WIDE_RESNETS[arch], dropout)
    elif arch in DENSENETS:
        encoder = DenseNet(*DENSENETS[arch])
    else:
        encoder = CIFARResNet(arch, width)
    return encoder, encoder.out_features


def full_precision(x: Tensor) -> Tensor:
    """float32 where autocast gave half precision; float64 stays."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
