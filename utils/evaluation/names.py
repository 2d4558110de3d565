"""How tables name networks and scores."""

_ARCHITECTURES = {"resnet": "ResNet-", "wrn": "WRN", "densenet-bc": "DenseNet-BC"}
# The scores whose name in tables is not that of --score.
SCORES = {
    "knn": "KNN",
    "maha": "Mahalanobis",
    "maha++": "Mahalanobis++",
    "maha-official": "Mahalanobis (official code)",
    "ssd": "SSD",
    "msp": "MSP",
}


def arch_label(arch: str, width: int = 64) -> str:
    """An encoder in tables: ResNet-18 (width 16) for resnet18 of width 16; 64 is usual and not said."""
    for name, label in _ARCHITECTURES.items():
        arch = arch.replace(name, label)
    return arch if width == 64 else f"{arch} (width {width})"
