"""Checkpoint files: atomic and checksummed writing, loading without running code, the official format in and out."""

import hashlib
import json
import os
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.cider import CIDERNet, config_from_state_dict
from utils.errors import UserError
from utils.files import atomic_write, file_sha256

CIDER_METHODS = ("cider", "supcon", "ce")


@dataclass(frozen=True)
class Checkpoint:
    """A trained network and what its file says about it.

    `model` is in eval mode on the CPU; `prototypes` (C, D) are the EMA prototypes of the head's space, or None;
    `args` is empty and `class_names` is () for files of the official code, which do not hold them.
    """

    model: nn.Module
    method: str
    epoch: int
    prototypes: Tensor | None
    path: Path
    sha256: str
    args: dict[str, Any] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()


def digest(tree: Any) -> str:
    """SHA-256 of nested dicts, lists, tensors and plain values, whatever device or file they came from."""
    sha = hashlib.sha256()
    _feed(sha, tree)
    return sha.hexdigest()


def _feed(sha: Any, tree: Any) -> None:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            sha.update(f"{key!r}:".encode())
            _feed(sha, value)
    elif isinstance(tree, list | tuple):
        sha.update(f"[{len(tree)}]".encode())
        for value in tree:
            _feed(sha, value)
    elif isinstance(tree, Tensor):
        sha.update(f"{tree.dtype}{tuple(tree.shape)}".encode())
        sha.update(tree.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    else:
        sha.update(repr(tree).encode())


def save(content: dict[str, Any], path: Path, *, keep_previous: bool = False) -> None:
    """Write `content` with its checksum under "sha256", so that `path` is at every moment a complete file.

    Args:
        keep_previous: keep the file that was there as `previous.pt` beside it.
    Raises:
        UserError: the disk is full or refuses the file; what was there before is untouched.
    """
    try:
        with atomic_write(path) as stream:
            torch.save({**content, "sha256": digest(content)}, stream)
            if keep_previous and path.exists():
                _link_previous(path)
    except (OSError, RuntimeError) as error:
        # torch.save reports a failed write of its zip stream as a RuntimeError.
        reason = str(error).splitlines()[0]
        raise UserError(
            f"checkpoint not written: {path}\n  reason     : {reason}\n"
            "  still there: the previous checkpoint, untouched"
        ) from error


def _link_previous(path: Path) -> None:
    previous = path.with_name("previous.pt")
    spare = path.with_name(".previous.tmp")
    spare.unlink(missing_ok=True)
    os.link(path, spare)
    os.replace(spare, previous)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint file without running any code that it may hold, and verify its checksum where it has one.

    Raises:
        UserError: missing, damaged, or holding more than tensors and plain values.
    """
    if not path.is_file():
        raise UserError(f"checkpoint not found.\n  looked for : {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is damaged, or holds more than tensors and plain values, and was not loaded"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is damaged or not a checkpoint: {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a checkpoint: it holds a {type(content).__name__}, not a dict")
    expected = content.pop("sha256", None)
    if expected is not None and expected != digest(content):
        raise UserError(f"{path} is damaged: its checksum does not fit its content")
    return content


def official_format(
    model: CIDERNet,
    prototypes: Tensor | None,
    *,
    method: str,
    epoch: int,
    args: Mapping[str, Any],
    class_names: tuple[str, ...],
) -> dict[str, Any]:
    """What `checkpoint_E.pth.tar` holds: the official keys, and what rebuilds the model without a command line."""
    return {
        "epoch": epoch,
        "state_dict": {name: value.detach().cpu() for name, value in model.state_dict().items()},
        "dis_state_dict": {} if prototypes is None else {"prototypes": prototypes.detach().cpu()},
        "method": method,
        "model_config": model.config,
        "args": json.loads(json.dumps(dict(args), default=str)),
        "class_names": list(class_names),
    }


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Rebuild the network of a checkpoint file, ours or one of the official CIDER code.

    Official files are read strictly: their weights under `state_dict` or `model`, with or without `module.` before the
    names; the architecture is inferred from names and shapes.

    Raises:
        UserError: missing or damaged file, or weights that are not those of a network known here.
    """
    path = Path(path)
    content = load(path)
    state_dict = content.get("state_dict", content.get("model"))
    if not isinstance(state_dict, Mapping):
        raise UserError(
            f"{path} holds no weights: neither 'state_dict' nor 'model' is in it "
            f"(found: {', '.join(map(str, content))})"
        )
    state_dict = {name.removeprefix("module."): value for name, value in state_dict.items()}
    try:
        model = CIDERNet(**(content.get("model_config") or config_from_state_dict(state_dict)))
        model.load_state_dict(state_dict)
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"{path} does not hold the weights of a network known here.\n  reason     : {error}") from error
    prototypes = (content.get("dis_state_dict") or {}).get("prototypes")
    return Checkpoint(
        model=model.eval(),
        method=content.get("method", "cider"),
        epoch=int(content.get("epoch", 0)),
        prototypes=prototypes,
        path=path,
        sha256=file_sha256(path),
        args=content.get("args", {}),
        class_names=tuple(content.get("class_names", ())),
    )
