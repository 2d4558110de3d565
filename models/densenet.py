"""DenseNet-BC (Huang et al. 2017) for small images, ending at the penultimate features."""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DenseLayer(nn.Module):
    """1x1 and 3x3 convolution, each behind batch norm and ReLU, whose `growth` channels are appended to the input."""

    def __init__(self, in_channels: int, growth: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, 4 * growth, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(F.relu(self.bn1(x), inplace=True))
        out = self.conv2(F.relu(self.bn2(out), inplace=True))
        return torch.cat([x, out], 1)


class _Transition(nn.Module):
    """Half the channels and half the side."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, in_channels // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.conv1(F.relu(self.bn1(x), inplace=True)), 2)


class DenseNet(nn.Module):
    """DenseNet-BC-depth-growth without its classifier, parameters named as in the official VOS and MCD code.

    Args:
        depth: convolutions in all, 6 n + 4; 100 in both papers.
        growth: channels that a layer adds; 12 in both papers.
    Shape:
        (N, 3, H, W) -> (N, out_features); 342 features for depth 100 and growth 12.
    """

    def __init__(self, depth: int = 100, growth: int = 12) -> None:
        super().__init__()
        layers = (depth - 4) // 6
        channels = 2 * growth
        self.conv1 = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        for number in (1, 2, 3):
            stage = nn.Sequential(*(DenseLayer(channels + index * growth, growth) for index in range(layers)))
            # Two levels, for the names in checkpoints: block1.layer.0.conv1.weight.
            self.add_module(f"block{number}", nn.Sequential(OrderedDict(layer=stage)))
            channels += layers * growth
            if number < 3:
                self.add_module(f"trans{number}", _Transition(channels))
                channels //= 2
        self.bn1 = nn.BatchNorm2d(channels)
        self.out_features = channels

    def forward(self, x: Tensor) -> Tensor:
        x = self.trans1(self.block1(self.conv1(x)))
        x = self.trans2(self.block2(x))
        x = F.relu(self.bn1(self.block3(x)), inplace=True)
        return F.adaptive_avg_pool2d(x, 1).flatten(1)
