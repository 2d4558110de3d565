"""Which saved state a run goes on from, whether that state is of the same run, and how it is put back."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from utils import checkpoint
from utils.errors import UserError, one_line, warn
from utils.training.meter import LossMeter
from utils.training.run_folder import RunFolder

STATE_ENTRIES = frozenset("method epoch batch finished args modules optimizer scaler random meter logs".split())


def saved_state(folder: RunFolder, resume: str, key_arguments: Mapping[str, Any], method: str) -> dict[str, Any] | None:
    """The state to go on from, or None for a new run.

    Args:
        resume: "auto" takes the folder's last.pt, or previous.pt where that is damaged; "none" begins anew; anything
            else is the path of a state, which must exist.
        key_arguments: those that make this run what it is; the saved ones must be the same.
        method: name of the method; a state of another one is refused.
    Raises:
        UserError: missing or damaged state, or a state of another run (the differences are listed).
    """
    if resume == "none":
        return None
    state = _auto_state(folder) if resume == "auto" else _load(Path(resume))
    if state is None:
        return None
    _require_same_run(folder.last if resume == "auto" else Path(resume), state, key_arguments, method)
    return state


def finished_state(path: Path, key_arguments: Mapping[str, Any], method: str) -> dict[str, Any]:
    """What the network of a finished run says of it, where its state is gone; UserErrors as in `saved_state`."""
    try:
        content = checkpoint.load(path)
    except checkpoint.DamagedFile as error:
        raise UserError(f"{error}\n  go on with : --resume none, which begins anew") from error
    state = {"finished": True, "method": content.get("method", "unknown"), "args": content.get("args") or {}}
    said = {name: value for name, value in key_arguments.items() if name in state["args"]}  # MCD's keeps some back
    _require_same_run(path, state, said, method)
    return state


def _require_same_run(path: Path, state: Mapping[str, Any], key_arguments: Mapping[str, Any], method: str) -> None:
    if state.get("method", method) != method:  # an older version did not save it
        theirs = one_line(state["method"])
        raise UserError(f"{path} is the state of a run of the method {theirs}, and this one is of {method}")
    saved = state["args"]
    differences = [
        f"--{name.replace('_', '-')}: {saved.get(name)} in the saved state, {value} now"
        for name, value in sorted(key_arguments.items())
        # An older version may not have known a switch that is off.
        if value != saved.get(name) and (value is not False or saved.get(name) is not None)
    ]
    if differences:
        listed = "\n    ".join(differences)
        raise UserError(
            f"{path} is the state of a run with other arguments.\n    {listed}\n"
            "  go on with : the same arguments, another --name or --trial, or --resume none to overwrite it"
            f"{_how_to_train_on(path.parent)}"
        )


def _how_to_train_on(folder: Path) -> str:
    """A further line where there are weights from which a run with other settings, such as more epochs, may start."""
    found = sorted(folder.glob("checkpoint_*.pth.tar"), key=lambda file: file.stat().st_mtime)
    if not found:
        return ""
    return f"\n  or start a new run with --init-from {found[-1]}: from its weights, with a schedule of its own"


def _load(path: Path) -> dict[str, Any]:
    state = checkpoint.load(path, checksum_required=True)
    if not STATE_ENTRIES - {"method"} <= state.keys():
        raise UserError(f"{path} is not a state to go on from; --resume takes the last.pt of a run folder")
    return state


def _auto_state(folder: RunFolder) -> dict[str, Any] | None:
    """last.pt; or previous.pt, where last.pt is damaged, or missing because a save was cut between its renames."""
    damaged: list[str] = []
    for path in (folder.last, folder.previous):
        if not path.exists():
            continue
        try:
            state = _load(path)
        except checkpoint.DamagedFile as error:
            damaged.append(str(error))
            continue
        if damaged:
            warn(f"{damaged[0]}; going on from {path}")
            # Set aside, or the next save would put it in the place of the good one.
            folder.last.replace(folder.last.with_name("last.pt.damaged"))
        return state
    if damaged:
        raise UserError("\n".join([*damaged, "  go on with : --resume none, which begins anew"]))
    return None


@dataclass(frozen=True)
class Resumable:
    """What a resumed run has to find again as it was, the generators of random numbers of CPU and GPU among it."""

    modules: Mapping[str, nn.Module]
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    meter: LossMeter
    device: torch.device

    def snapshot(self) -> dict[str, Any]:
        """What `restore` puts back."""
        on_gpu = self.device.type == "cuda"
        return {
            "modules": {name: module.state_dict() for name, module in self.modules.items()},
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": {
                "torch": torch.get_rng_state(),
                "cuda": torch.cuda.get_rng_state(self.device) if on_gpu else None,
            },
            "meter": self.meter.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put a saved state back. UserError: it is of another network."""
        try:
            for name, module in self.modules.items():
                module.load_state_dict(state["modules"][name])
            self.optimizer.load_state_dict(state["optimizer"])
            if state["scaler"]:
                self.scaler.load_state_dict(state["scaler"])
            torch.set_rng_state(state["random"]["torch"])
            if self.device.type == "cuda" and state["random"]["cuda"] is not None:
                torch.cuda.set_rng_state(state["random"]["cuda"], self.device)
            self.meter.load_state_dict(state["meter"])
        except (KeyError, ValueError, RuntimeError) as error:  # of load_state_dict
            raise UserError(
                f"the saved state does not fit this run: {one_line(error)}\n  begin anew : --resume none"
            ) from error
