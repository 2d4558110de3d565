"""ResNets (He et al. 2016) that end at the penultimate features: for 32x32 images, and torchvision's for ImageNet."""

import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.archs import BOTTLENECK_ARCHS, CIFAR_BLOCKS, SMALLEST_WIDTH

_IMAGENET_POSITION = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016, fig. 5 left): (N, in, H, W) -> (N, channels, H', W')."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = _shortcut(in_channels, channels * self.expansion, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.shortcut(x), inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut (He et al. 2016, fig. 5 right), the stride in the 3x3."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        out_channels = channels * self.expansion
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.shortcut = _shortcut(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        out = self.bn3(self.conv3(out))
        return F.relu(out + self.shortcut(x), inplace=True)


class CIFARResNet(nn.Module):
    """ResNet for small images: 3x3 stem, no max-pool, global average, no classifier.

    Args:
        width: channels of the stem and the first stage, at least 8; the paper's networks have 64.
    Shape:
        (N, 3, H, W) -> (N, out_features), out_features = 8 * width, four times that for the bottleneck networks.
    Raises:
        ValueError: a smaller width, but on the meta device, where the networks of older files are rebuilt.
    """

    def __init__(self, arch: str = "resnet18", width: int = 64) -> None:
        super().__init__()
        # Below 8 input channels, oneDNN's backward pass for 1x1 convolutions of stride 2 in channels_last writes past
        # its workspace without AVX-512 (its issue 6035): crashes, hangs, wrong gradients. The forward pass is right.
        narrowest = 1 if torch.get_default_device().type == "meta" else SMALLEST_WIDTH
        if width < narrowest:
            raise ValueError(f"width must be at least {narrowest}, not {width}: not every CPU trains fewer channels")
        block = Bottleneck if arch in BOTTLENECK_ARCHS else BasicBlock
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        in_channels = width
        for stage, depth in enumerate(CIFAR_BLOCKS[arch]):
            channels = width * 2**stage
            blocks = []
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(block(in_channels, channels, stride))
                in_channels = channels * block.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.out_features = in_channels

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return F.adaptive_avg_pool2d(x, 1).flatten(1)


def imagenet_resnet(arch: str, *, pretrained: bool) -> nn.Sequential:
    """torchvision's ResNet without its classifier, children numbered as in official files.

    Shape:
        (N, 3, H, W) -> (N, D, 1, 1), D = 512 for resnet34 and 2048 for resnet50.
    Raises:
        OSError: pretrained, and the ImageNet weights are neither in torch's cache nor can be downloaded.
    """
    from torchvision.models import get_model, get_model_weights  # here, so that small images need no torchvision

    weights = get_model_weights(arch).IMAGENET1K_V1 if pretrained else None  # the ones the paper starts from
    try:
        network = get_model(arch, weights=weights, progress=sys.stderr.isatty())
    except (OSError, RuntimeError) as error:  # no network, no disk, or a file with another hash
        raise OSError(
            f"the ImageNet weights of {arch} could not be downloaded ({error}).\n"
            f"  looked for : {weights.url}\n"
            f"  get it by  : download that file elsewhere; `--weights FILE` then works offline"
        ) from error
    return nn.Sequential(*list(network.children())[:-1])


def load_torchvision_weights(encoder: nn.Sequential, path: str | Path) -> None:
    """Fill an ImageNet encoder from a local file with the state dict of a torchvision ResNet, whose fc is left out.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no PyTorch file of such weights, or it belongs to another network.
    """
    with Path(path).open("rb") as file:
        try:
            weights = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file gives anything from OSError to UnpicklingError
            raise ValueError(f"{path} is damaged or is no PyTorch file of weights.") from error
    if not isinstance(weights, Mapping) or "conv1.weight" not in weights:
        raise ValueError(f"{path}: no state dict of a torchvision ResNet: the name conv1.weight is missing.")
    renamed = {}
    for name, tensor in weights.items():
        child, _, rest = name.partition(".")
        if child != "fc":
            renamed[f"{_IMAGENET_POSITION.get(child, child)}.{rest}"] = tensor
    try:
        encoder.load_state_dict(renamed)
    except RuntimeError as error:
        reason = ascii(" ".join(str(error).split()))[1:200]  # it holds names from the file
        raise ValueError(f"{path}: the weights are of another architecture. {reason}") from error


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    if stride == 1 and in_channels == out_channels:
        return nn.Sequential()
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))
