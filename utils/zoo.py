"""Trained models by name: `load_model("cifar10/cider/resnet18-e500-s4")`. A new one is a record in MODELS."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from utils.checkpoint import load_checkpoint
from utils.errors import UserError, WrongUsage
from utils.files import REPOSITORY
from utils.prepare.download import DownloadError, fetch


@dataclass(frozen=True)
class Model:
    """A trained model.

    Attributes:
        place: folder of this repository, or the address of one, that has the files.
        files: name -> SHA-256: first the checkpoint, then what lies beside it.
    """

    place: str
    files: Mapping[str, str]


MODELS: dict[str, Model] = {
    "cifar10/cider/resnet18-e500-s4": Model(
        place="checkpoints/CIFAR-10/cider_resnet18_e500_s4",
        files={
            "checkpoint_500.pth.tar": "36bb21eee0fb26e9258d2a54e47fbd9b191501e30077fb497fca5e8757e951b8",
            "checkpoint_500.reference.small.npz": "349f0cf5238ee719d43ed8059edb0beec9457704c6c29cd2949fe72cb53653c2",
        },
    ),
    "cifar10/cider/resnet18-e100-s4": Model(
        place="checkpoints/CIFAR-10/cider_resnet18_e100_s4",
        files={
            "checkpoint_100.pth.tar": "00d69e78b351b7b4e95e9d69c9ad18e9bcdd454852712b1090a8c08e9c0d34fd",
            "checkpoint_100.reference.small.npz": "f73d8947b7fee714612cdee1abc752c3550db0c91d4e8c27d70b975ffc616262",
        },
    ),
}


def list_models() -> tuple[str, ...]:
    """The names that `load_model` takes."""
    return tuple(MODELS)


def model_file(name: str) -> Path:
    """The checkpoint of a model, for `load_checkpoint` and `load_detector`.

    A model that is not in this repository is downloaded once, to checkpoints/ in PyTorch's hub folder (TORCH_HOME).

    Raises:
        WrongUsage: unknown name; those that there are, nearest first.
        UserError: a file did not come, or is not the one with the SHA-256 that is known here.
    """
    if name not in MODELS:
        nearest = difflib.get_close_matches(name, MODELS, n=len(MODELS), cutoff=0)
        raise WrongUsage(f"there is no model {name}\n  there are  : {', '.join(nearest)}")
    model = MODELS[name]
    folder = REPOSITORY / model.place
    if "://" in model.place:
        folder = Path(torch.hub.get_dir(), "checkpoints", *name.split("/"))
        for file, sha256 in model.files.items():
            _fetch(f"{model.place.rstrip('/')}/{file}", folder / file, sha256)
    return folder / next(iter(model.files))


def _fetch(address: str, path: Path, sha256: str) -> None:
    try:
        fetch(address, path, checksum=f"sha256:{sha256}")
    except DownloadError as error:
        raise UserError(
            f"the model could not be fetched: {error}\n  looked for : {address}\n"
            f"  do         : try again, or put the file at {path}"
        ) from error


def load_model(name: str) -> nn.Module:
    """The network of a model on the CPU, in eval mode.

    `model.features(x)` are its penultimate features, of CIDER unit rows; x is normalised as its card says, and as
    `load_checkpoint(model_file(name)).args["input"]`.

    Raises:
        as `model_file` and `load_checkpoint`.
    """
    return load_checkpoint(model_file(name)).model
