"""The architectures by name, and what each name stands for; command lines read it, so nothing slow is imported."""

CIFAR_BLOCKS = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
}
BOTTLENECK_ARCHS = ("resnet50", "resnet101")
IMAGENET_ARCHS = ("resnet34", "resnet50")
SMALLEST_WIDTH = 8
WIDE_RESNETS = {"wrn-40-2": (40, 2), "wrn-28-10": (28, 10)}
DENSENETS = {"densenet-bc-100-12": (100, 12)}
ARCHS = (*WIDE_RESNETS, *DENSENETS, *CIFAR_BLOCKS)
