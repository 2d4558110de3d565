"""How tables name metrics, networks and scores."""

METRICS = ("fpr95", "auroc", "aupr_in", "aupr_out")
HEADINGS = {"fpr95": "FPR95 ↓", "auroc": "AUROC ↑", "aupr_in": "AUPR-In ↑", "aupr_out": "AUPR-Out ↑"}
ORIENTATION = "larger = more ID"
POSITIVE = {"ID": "ID is the positive class", "OOD": "OOD is the positive class (FPR95: ID rejected with 95 % of OOD)"}

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
