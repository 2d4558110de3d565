"""Checkpoint files: atomic and checksummed writing, loading without running code, the official format in and out."""

import hashlib
import io
import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models import cider, mcd, vos
from utils.errors import UserError
from utils.files import atomic_write, file_sha256
from utils.methods import Method, find_method

# Class of a network, as files name it -> the module that has it, with `config_from_state_dict`.
NETWORKS = {"CIDERNet": cider, "VOSNet": vos, "MCDNet": mcd}


@dataclass(frozen=True)
class Checkpoint:
    """A trained network and what its file says about it.

    `model` is in eval mode on the CPU; `prototypes` (C, D) are the EMA prototypes of the head's space, or None;
    `unlabelled` says which unlabelled test images the training has seen (MCD), or is None: it has seen none;
    `args` is empty and `class_names` is () for files of the official code, which do not hold them.
    """

    model: nn.Module
    method: Method
    epoch: int
    prototypes: Tensor | None
    path: Path
    sha256: str
    args: dict[str, Any] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    unlabelled: dict[str, Any] | None = None


class DamagedFile(UserError):
    """A checkpoint file whose content is not what was written."""


def save(content: Mapping[str, Any], path: Path, *, previous: Path | None = None) -> None:
    """Write `content` so that `path` is at every moment a complete file, with a checksum of all its bytes.

    The file is what torch.save makes, a zip archive; the checksum is the comment that such archives may end with.

    Args:
        content: nested dicts, lists, tensors and plain values.
        previous: the file that was at `path` is kept under this name.
    Raises:
        UserError: the disk is full or refuses the file; what was there before is untouched.
    """
    archive = io.BytesIO()
    torch.save(content, archive)
    body = archive.getbuffer()[:-2]  # without the length of the comment, which is 0
    try:
        with atomic_write(path, previous=previous) as stream:
            stream.write(body)
            stream.write(_checksum(body))
    except OSError as error:
        raise UserError(
            f"{path} not written: {error.strerror or error}; the checkpoints that were there are untouched"
        ) from error


_CHECKSUM_MARK = b"sha256:"
_CHECKSUM_SIZE = 2 + len(_CHECKSUM_MARK) + 64


def _checksum(body: memoryview) -> bytes:
    """End of a zip archive whose comment is the SHA-256 of `body`, all bytes before it."""
    comment = _CHECKSUM_MARK + hashlib.sha256(body).hexdigest().encode()
    return len(comment).to_bytes(2, "little") + comment


def load(path: Path, *, checksum_required: bool = False) -> dict[str, Any]:
    """Read a checkpoint file without running any code that it may hold, and verify its checksum where it has one.

    Args:
        checksum_required: a file without a checksum, as other code writes them, counts as damaged.
    Raises:
        DamagedFile: not what was written, or holding more than tensors and plain values.
        UserError: missing or not readable.
    """
    if not path.is_file():
        raise UserError(f"checkpoint not found.\n  looked for : {path}")
    try:
        content = memoryview(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} can not be read: {error.strerror}") from error
    body, checksum = content[:-_CHECKSUM_SIZE], bytes(content[-_CHECKSUM_SIZE:])
    if (checksum_required or _CHECKSUM_MARK in checksum) and checksum != _checksum(body):
        reason = "its checksum does not fit its content" if _CHECKSUM_MARK in checksum else "it has no checksum"
        raise DamagedFile(f"{path} is damaged: {reason}")
    try:
        tree = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DamagedFile(
            f"{path} is damaged, or holds more than tensors and plain values, and was not loaded"
        ) from error
    except Exception as error:  # torch says nowhere what it raises for bytes that are no checkpoint
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DamagedFile(f"{path} is damaged or not a checkpoint: {reason}") from error
    if not isinstance(tree, dict):
        raise DamagedFile(f"{path} is not a checkpoint: it holds a {type(tree).__name__}, not a dict")
    return tree


def official_format(
    model: nn.Module,
    prototypes: Tensor | None,
    *,
    method: str,
    epoch: int,
    args: Mapping[str, Any],
    class_names: tuple[str, ...],
) -> dict[str, Any]:
    """What `checkpoint_E.pth.tar` holds: the official keys, and what rebuilds the model without a command line.

    Args:
        model: one of NETWORKS, whose `config` are its constructor's arguments.
        method: name of one of utils.methods.METHODS.
    """
    # Cloned, since torch.save writes the whole storage of a tensor that is a part of another.
    return {
        "epoch": epoch,
        "state_dict": {name: value.detach().cpu().clone() for name, value in model.state_dict().items()},
        "dis_state_dict": {} if prototypes is None else {"prototypes": prototypes.detach().cpu().clone()},
        "method": method,
        "network": type(model).__name__,
        "model_config": model.config,
        "args": json.loads(json.dumps(dict(args), default=str)),
        "class_names": list(class_names),
    }


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Rebuild the network of a checkpoint file, ours or one of the official CIDER or VOS code.

    Official files are read strictly: their weights under `state_dict` or `model`, or the file is the state dict itself,
    with or without `module.` before the names; the architecture is inferred from names and shapes.

    Raises:
        UserError: missing or damaged file, or weights that are not those of a network known here.
    """
    path = Path(path)
    content = load(path)
    if content and all(isinstance(value, Tensor) for value in content.values()):
        content = {"state_dict": content}
    weights = content.get("state_dict", content.get("model"))
    if not isinstance(weights, Mapping):
        raise UserError(
            f"{path} holds no weights: neither 'state_dict' nor 'model' is in it "
            f"(found: {', '.join(map(str, content))})"
        )
    try:
        weights = {name.removeprefix("module."): value for name, value in weights.items()}
        network = content.get("network") or _recognised(weights)
        model = _rebuild(network, weights, content.get("model_config"))
        epoch = int(content.get("epoch", 0))
        if network == "VOSNet" and epoch <= content.get("args", {}).get("start_epoch", -1):
            model.forget_uncertainty()
        return Checkpoint(
            model=model,
            method=find_method(network, content.get("method")),
            epoch=epoch,
            prototypes=_prototypes(content, model.config),
            path=path,
            sha256=file_sha256(path),
            args=dict(content.get("args", {})),
            class_names=tuple(map(str, content.get("class_names", ()))),
            unlabelled=content.get("unlabelled"),
        )
    except (ValueError, TypeError, RuntimeError, AttributeError, KeyError) as error:
        raise UserError(f"{path} does not hold the weights of a network known here.\n  reason     : {error}") from error


def _recognised(weights: Mapping[str, Tensor]) -> str:
    """Class of the network that an official file belongs to: its encoders have names of their own."""
    if "head2.weight" in weights and "head1.weight" in weights:
        return "MCDNet"
    return "VOSNet" if "block1.layer.0.bn1.weight" in weights else "CIDERNet"


def _rebuild(network: str, weights: Mapping[str, Tensor], config: Mapping[str, Any] | None) -> nn.Module:
    """The network with these weights, in eval mode; `config` are its constructor's arguments if the file has them."""
    if network not in NETWORKS:
        raise ValueError(f"it says that it is a {network}; known are {', '.join(NETWORKS)}")
    weights = {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}
    module = NETWORKS[network]
    config = {**(config or module.config_from_state_dict(weights)), "pretrained": False}
    # However large a network the file claims to be, nothing is allocated before names and shapes have been compared.
    with torch.device("meta"):
        model = getattr(module, network)(**config)
    model.load_state_dict(weights, assign=True)
    return model.eval()


def _prototypes(content: Mapping[str, Any], config: Mapping[str, Any]) -> Tensor | None:
    prototypes = (content.get("dis_state_dict") or {}).get("prototypes")
    if prototypes is None:
        return None
    expected = (config["num_classes"], config["feat_dim"])
    if tuple(prototypes.shape) != expected:
        raise ValueError(f"prototypes of shape {tuple(prototypes.shape)}, where the network has {expected}")
    return prototypes.float()
