"""Rows of results/measured.csv for tests."""

from dataclasses import fields

from utils.results.rows import Row, typed

USUAL = {
    "method": "cider",
    "arch": "resnet18",
    "width": "64",
    "id": "CIFAR-10",
    "benchmark": "cider",
    "ood": "SVHN",
    "score": "knn",
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


def cells(**given) -> dict[str, str]:
    """A row as text: by default of a full CIDER run on SVHN; the checkpoint's hash follows from method and seed."""
    found = {column.name: "" for column in fields(Row)} | USUAL | {name: str(value) for name, value in given.items()}
    found["set"] = found["set"] or found["ood"].split(" (")[0]
    usual = f"{found['method']}-{found['seed']}-{found['trained_with']}-{found['benchmark']}"
    return found | {"checkpoint_sha256": found["checkpoint_sha256"] or usual}


def row(**given) -> Row:
    """`cells` as a row."""
    return typed(Row, cells(**given), "a test")


OFFICIAL = {"SVHN": 10_000, "places365": 10_000, "LSUN": 10_000, "iSUN": 8_925, "dtd": 5_640}


def run(auroc: float, **given) -> list[Row]:
    """Rows of one run on the five sets of the paper, the first with this AUROC and each further one a point more."""
    return [row(ood=name, images=n, auroc=auroc + i, **given) for i, (name, n) in enumerate(OFFICIAL.items())]


OPENOOD = {"CIFAR-100": 9_000, "TIN": 7_793, "MNIST": 70_000, "SVHN": 26_032, "dtd": 5_640, "places365": 35_195}


def openood_run(auroc: float, **given) -> list[Row]:
    """The same on OpenOOD's sets for CIFAR-10, of ResNet-18 after 100 epochs."""
    usual = {"benchmark": "openood", "positive": "OOD", "epochs": 100, "id_images": 9000}
    return [
        row(**usual | {"ood": name, "images": n, "auroc": auroc + i} | given)
        for i, (name, n) in enumerate(OPENOOD.items())
    ]
