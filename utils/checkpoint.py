"""Checkpoint files: atomic and checksummed writing, loading without running code, the official format in and out."""

import argparse
import hashlib
import io
import json
import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.foreign import NETWORKS, config_from_state_dict, recognise, unwrapped
from utils.data.plain_pickle import NumberType, number
from utils.errors import UserError, one_line
from utils.files import atomic_write, check_archive, file_sha256
from utils.methods import Method, find_method


@dataclass(frozen=True)
class Checkpoint:
    """A trained network and what its file says about it.

    `model` is in eval mode on the CPU; `prototypes` (C, D) of the head's space, PALM's (C * P, D), or None;
    `unlabelled` says which unlabelled test images the training has seen (MCD), or is None: it has seen none;
    `args` has no more than "input" and `class_names` is () for files of other code. A network whose file has no
    classifier has one for 0 classes.
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
# Beside what torch admits by itself; numpy's names are answered by stand-ins.
_ADMITTED = [
    argparse.Namespace,
    (NumberType, "numpy.dtype"),
    *((number, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]


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
        if content[:2] == b"PK":
            check_archive(io.BytesIO(content), checksums=_CHECKSUM_MARK not in checksum)
        with torch.serialization.safe_globals(_ADMITTED), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about kinds of tensors and files that are refused below
            tree = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch says nowhere what it raises for bytes that are no checkpoint
        if called := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise DamagedFile(
                f"{path} holds a {one_line(called[1])} and was not loaded: a checkpoint may hold tensors, plain "
                "values, argparse.Namespace and numpy's numbers"
            ) from error
        # A KeyError holds the first byte of a text, which is no opcode of a pickle.
        reason = "it was not loaded" if isinstance(error, (pickle.UnpicklingError, KeyError)) else one_line(error)
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
    """Rebuild the network of a checkpoint file, ours or one of those codes that models.foreign knows.

    Files of other code are read strictly: their weights under `state_dict` or `model`, or the file is the state dict
    itself; network and architecture are inferred from names and shapes.

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
            f"(found: {one_line(', '.join(map(str, content)))})"
        )
    try:
        return _rebuilt(path, content, unwrapped(weights))
    except (ValueError, TypeError, RuntimeError, AttributeError, KeyError, OverflowError) as error:
        raise UserError(
            f"{path} does not hold the weights of a network known here.\n  reason     : {one_line(error)}"
        ) from error


def _rebuilt(path: Path, content: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Checkpoint:
    """What the file at `path` holds. Raises nearly anything where that is not what a checkpoint holds."""
    network, method, config = content.get("network"), content.get("method"), content.get("model_config")
    args = dict(content.get("args") or {}) if network else {}
    if not network:
        options = content.get("opt")
        found = recognise(weights, vars(options) if isinstance(options, argparse.Namespace) else {})
        network, method, weights, config = found.network, found.method, found.weights, None
        if found.normalisation:
            mean, std = map(list, found.normalisation)
            args = {"input": {"size": 32, "mean": mean, "std": std}}
    if network not in NETWORKS:
        raise ValueError(f"it says that it is a {network}; known are {', '.join(NETWORKS)}")
    _require_plain_tensors(weights)
    # However large a network the file claims to be, nothing is allocated before names and shapes were compared.
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a classifier for 0 classes has nothing to be drawn
        config = config or config_from_state_dict(network, weights)
        model = NETWORKS[network](**{**config, "pretrained": False})
    model.load_state_dict(weights, assign=True)
    epoch = int(content.get("epoch") or 0)
    if network == "VOSNet" and epoch <= args.get("start_epoch", -1):
        model.forget_uncertainty()
    class_names = tuple(content.get("class_names", ()))
    prototypes = (content.get("dis_state_dict") or {}).get("prototypes")
    if len(class_names) not in (0, model.config["num_classes"]):
        raise ValueError(f"{len(class_names)} class names for a network of {model.config['num_classes']} classes")
    if prototypes is not None and (prototypes.dim() != 2 or len(prototypes) % max(model.config["num_classes"], 1)):
        raise ValueError(f"prototypes {tuple(prototypes.shape)} of {model.config['num_classes']} classes")
    return Checkpoint(
        model=model.float().eval(),
        method=find_method(network, method),
        epoch=epoch,
        prototypes=None if prototypes is None else prototypes.float(),
        path=path,
        sha256=file_sha256(path),
        args=args,
        class_names=class_names,
        unlabelled=content.get("unlabelled"),
    )


def _require_plain_tensors(weights: Mapping[str, Tensor]) -> None:
    """Raise a ValueError that names what is no dense tensor of floats, but for the counters of batch norms."""
    for name, value in weights.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"{name} is a {type(value).__name__}, not a tensor")
        if value.layout != torch.strided or not (value.is_floating_point() or name.endswith("num_batches_tracked")):
            raise ValueError(f"{name} is a tensor of {value.layout}, {value.dtype}")
