"""Wide ResNets (Zagoruyko and Komodakis 2016) for small images, ending at the penultimate features."""

from collections import OrderedDict
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F


class WideBlock(nn.Module):
    """Batch norm and ReLU before each of two 3x3 convolutions, dropout between them, and a shortcut.

    (N, in, H, W) -> (N, channels, H / stride, W / stride)
    """

    def __init__(self, in_channels: int, channels: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.dropout = dropout
        self.convShortcut = None  # the name in checkpoints
        if in_channels != channels:
            self.convShortcut = nn.Conv2d(in_channels, channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(x), inplace=True)
        # Where the number of channels changes, the shortcut too starts behind the first batch norm.
        shortcut = x if self.convShortcut is None else self.convShortcut(out)
        out = F.relu(self.bn2(self.conv1(out)), inplace=True)
        if self.dropout > 0:
            out = F.dropout(out, self.dropout, self.training)
        return shortcut + self.conv2(out)


class WideResNet(nn.Module):
    """WRN-depth-widen without its classifier, parameters named as in the official VOS and MCD code.

    Args:
        depth: convolutions in all, 6 n + 4: 40 in VOS, 28 in MCD.
        widen: factor of the channels 16, 32, 64 of the three stages: 2 in VOS, 10 in MCD.
        dropout: probability of a zero between the convolutions of a block; 0.3 in VOS.
    Shape:
        (N, 3, H, W) -> (N, out_features), out_features = 64 * widen.
    """

    def __init__(self, depth: int = 40, widen: int = 2, dropout: float = 0.0) -> None:
        super().__init__()
        blocks = (depth - 4) // 6
        widths = [16, 16 * widen, 32 * widen, 64 * widen]
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        for number, (before, after) in enumerate(pairwise(widths), 1):
            stage = [WideBlock(before, after, 1 if number == 1 else 2, dropout)]
            stage += [WideBlock(after, after, 1, dropout) for _ in range(blocks - 1)]
            # Two levels, for the names in checkpoints: block1.layer.0.conv1.weight.
            self.add_module(f"block{number}", nn.Sequential(OrderedDict(layer=nn.Sequential(*stage))))
        self.bn1 = nn.BatchNorm2d(widths[3])
        self.out_features = widths[3]

    def forward(self, x: Tensor) -> Tensor:
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        x = F.relu(self.bn1(x), inplace=True)
        return F.adaptive_avg_pool2d(x, 1).flatten(1)
