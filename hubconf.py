"""Models for torch.hub: `torch.hub.load(".", "cider_resnet18_cifar10", source="local")`."""

from torch import nn

from utils.zoo import load_model

dependencies = ["torch", "numpy", "pooch", "requests"]


def cider_resnet18_cifar10() -> nn.Module:
    """CIDER on CIFAR-10, ResNet-18, 500 epochs: see checkpoints/CIFAR-10/cider_resnet18_e500_s4/card.md."""
    return load_model("cifar10/cider/resnet18-e500-s4")
