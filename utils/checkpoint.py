"""Checkpoint files: atomic and checksummed writing, loading without running code, the official format in and out."""

import argparse
import hashlib
import io
import json
import math
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

    `model` is in eval mode on the CPU; `prototypes` (C, D) are the EMA prototypes of the head's space, or None;
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
    except pickle.UnpicklingError as error:
        if called := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise DamagedFile(
                f"{path} holds a {one_line(called[1])} and was not loaded: a checkpoint may hold tensors, plain "
                "values, argparse.Namespace and numpy's numbers"
            ) from error
        raise DamagedFile(f"{path} is damaged or not a checkpoint, and was not loaded") from error
    except Exception as error:  # torch says nowhere what it raises for bytes that are no checkpoint
        raise DamagedFile(f"{path} is damaged or not a checkpoint: {one_line(error)}") from error
    if not isinstance(tree, dict):
        raise DamagedFile(f"{path} is not a checkpoint: it holds a {type(tree).__name__}, not a dict")
    return tree


# Beside what torch admits by itself; numpy's names are answered by stand-ins.
_ADMITTED = [
    argparse.Namespace,
    (NumberType, "numpy.dtype"),
    *((number, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]


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
    if network:
        args = _plain_args(content.get("args", {}))
    else:
        found = recognise(weights, _options(content))
        network, method, weights, config = found.network, found.method, found.weights, None
        args = {}
        if found.normalisation:
            mean, std = found.normalisation
            args = _plain_args({"input": {"size": 32, "mean": list(mean), "std": list(std)}})
    model = _network(network, weights, config)
    epoch = int(content.get("epoch") or 0)
    if network == "VOSNet" and epoch <= args.get("start_epoch", -1):
        model.forget_uncertainty()
    return Checkpoint(
        model=model,
        method=find_method(network, method),
        epoch=epoch,
        prototypes=_prototypes(content, model.config),
        path=path,
        sha256=file_sha256(path),
        args=args,
        class_names=_class_names(content.get("class_names", ()), model.config["num_classes"]),
        unlabelled=_unlabelled(content.get("unlabelled")),
    )


def _options(content: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a training by other code, where its file has them."""
    options = content.get("opt")
    return vars(options) if isinstance(options, argparse.Namespace) else {}


def _network(name: str, weights: Mapping[str, Tensor], config: Mapping[str, Any] | None) -> nn.Module:
    """The network with these weights, in eval mode; `config` are its constructor's arguments if the file has them."""
    if name not in NETWORKS:
        raise ValueError(f"it says that it is a {name}; known are {', '.join(NETWORKS)}")
    for entry, value in weights.items():
        _check_tensor(entry, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a classifier for 0 classes has nothing to be drawn
        config = {**(config or config_from_state_dict(name, weights)), "pretrained": False}
        # However large a network the file claims to be, nothing is allocated before names and shapes were compared.
        with torch.device("meta"):
            model = NETWORKS[name](**config)
    model.load_state_dict(weights, assign=True)
    return model.float().eval()


def _check_tensor(name: str, value: Any) -> None:
    """Raise a ValueError unless `value` is a dense tensor of real numbers that are all in the file."""
    if not isinstance(value, Tensor):
        raise ValueError(f"{name} is a {type(value).__name__}, not a tensor")
    is_number = value.is_floating_point() or (value.dtype == torch.int64 and name.endswith("num_batches_tracked"))
    if value.layout != torch.strided or value.device.type != "cpu" or value.is_nested or not is_number:
        raise ValueError(f"{name} is not a dense tensor of real numbers, but {value.layout} of {value.dtype}")
    if value.nbytes > value.untyped_storage().nbytes():
        raise ValueError(f"{name} has more numbers than the file holds")


def _prototypes(content: Mapping[str, Any], config: Mapping[str, Any]) -> Tensor | None:
    prototypes = (content.get("dis_state_dict") or {}).get("prototypes")
    if prototypes is None:
        return None
    _check_tensor("prototypes", prototypes)
    expected = (config["num_classes"], config["feat_dim"])
    if tuple(prototypes.shape) != expected:
        raise ValueError(f"prototypes of shape {tuple(prototypes.shape)}, where the network has {expected}")
    return prototypes.float()


def _class_names(names: Any, classes: int) -> tuple[str, ...]:
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ValueError("its class names are no list of texts")
    if names and len(names) != classes:
        raise ValueError(f"{len(names)} class names for a network of {classes} classes")
    return tuple(names)


# Arguments of a training that others read, and the types that they count on; each may also be missing or None.
_ARGUMENT_TYPES = {
    **dict.fromkeys(("in_dataset", "id_loc", "command"), str),
    **dict.fromkeys(("seed", "image_size", "limit_train", "start_epoch", "pretrain_epochs", "epochs"), int),
    "temp": int | float,
    "ood": list,
    "input": dict,
}


def _plain_args(args: Any) -> dict[str, Any]:
    """The arguments, once they are what other code may count on."""
    check_plain(args)
    for name, kind in _ARGUMENT_TYPES.items():
        if not isinstance(args.get(name), kind | None):
            raise ValueError(f"its argument {name} is a {type(args[name]).__name__}")
    if args.get("input"):
        size, mean, std = (args["input"][name] for name in ("size", "mean", "std"))
        if not (isinstance(size, int) and size > 0 and _three_numbers(mean) and _three_numbers(std) and min(std) > 0):
            raise ValueError("the images it was trained on have no usable size, mean and standard deviation")
    if not all(isinstance(name, str) for name in args.get("ood") or ()):
        raise ValueError("its OOD sets are no list of texts")
    return args


def _three_numbers(values: Any) -> bool:
    numbers = isinstance(values, list | tuple) and all(isinstance(value, int | float) for value in values)
    return numbers and len(values) == 3 and all(map(math.isfinite, values))


def _unlabelled(said: Any) -> dict[str, Any] | None:
    """What a file says about the unlabelled images of its training, whose lists are checked where they are used."""
    if said is None:
        return None
    check_plain(said)
    known = said["mode"] in ("transductive", "inductive") and isinstance(said["choice"], str)
    if not known or not all(isinstance(name, str) for name in said["ood"]):
        raise ValueError("what it says about unlabelled images is not usable")
    return said


def check_plain(tree: Any, most: int = 1_000_000, deepest: int = 10) -> None:
    """Raise a ValueError unless `tree` is a dict of lists, dicts, texts and numbers, and of a size to be written again.

    A file of a few bytes can hold lists that stand in each other so often, or so deep, that no program can walk them.
    """
    if not isinstance(tree, dict):
        raise ValueError(f"a {type(tree).__name__} in place of named values")
    waiting, count = [(tree, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        count += 1
        if isinstance(value, dict | list | tuple):
            parts = [*value.keys(), *value.values()] if isinstance(value, dict) else value
            waiting.extend((part, depth + 1) for part in parts)
        elif not isinstance(value, str | int | float | None):
            raise ValueError(f"a {type(value).__name__} among its arguments")
        if count + len(waiting) > most or depth > deepest:
            raise ValueError("more lists within lists than a training writes")
