"""Rows of results/measured.csv for tests."""

from utils.results.rows import COLUMNS, Row

USUAL = {
    "method": "CIDER",
    "architecture": "ResNet-18",
    "id": "CIFAR-10",
    "ood": "SVHN",
    "score": "KNN",
    "K": "100",
    "seed": "4",
    "epochs": "500",
    "positive": "ID",
    "images": "10000",
    "fpr95": "10.00",
    "auroc": "90.00",
    "aupr_in": "80.00",
    "aupr_out": "70.00",
    "id_images": "10000",
    "train_images": "50000",
    "trained_with": "temp=0.1 w=2.0",
    "device": "cpu",
    "versions": "torch 2.12.1, git 0123456",
    "date": "2026-11-21",
}


def row(**given) -> Row:
    """A row, by default of a full CIDER run on SVHN; the checkpoint's hash follows from method and seed."""
    found = {name: "" for name in COLUMNS} | USUAL | {name: str(value) for name, value in given.items()}
    return {"checkpoint_sha256": f"{found['method']}-{found['seed']}-{found['trained_with']}"} | {
        name: value for name, value in found.items() if value or name != "checkpoint_sha256"
    }


OFFICIAL = {"SVHN": 10_000, "places365": 10_000, "LSUN": 10_000, "iSUN": 8_925, "dtd": 5_640}


def run(auroc: float, **given) -> list[Row]:
    """Rows of one run on the five sets of the paper, the first with this AUROC and each further one a point more."""
    return [row(ood=name, images=n, auroc=auroc + i, **given) for i, (name, n) in enumerate(OFFICIAL.items())]
