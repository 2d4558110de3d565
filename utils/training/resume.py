"""Which saved state a run goes on from, and whether that state is of the same run."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils import checkpoint
from utils.errors import UserError, one_line
from utils.training.run_folder import RunFolder

STATE_ENTRIES = frozenset("epoch batch finished args modules optimizer scaler random meter logs".split())


def saved_state(folder: RunFolder, resume: str, key_arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """The state to go on from, or None for a new run.

    Args:
        resume: "auto" takes the folder's last.pt, or previous.pt where that is damaged; "none" begins anew; anything
            else is the path of a state, which must exist.
        key_arguments: those that make this run what it is; the saved ones must be the same.
    Raises:
        UserError: missing or damaged state, or a state of another run (the differences are listed).
    """
    if resume == "none":
        return None
    state = _auto_state(folder) if resume == "auto" else _load(Path(resume))
    if state is None:
        return None
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
            f"{folder.last if resume == 'auto' else resume} is the state of a run with other arguments.\n    {listed}\n"
            "  go on with : the same arguments, another --name or --trial, or --resume none to overwrite it"
        )
    return state


def _load(path: Path) -> dict[str, Any]:
    state = checkpoint.load(path, checksum_required=True)
    if not STATE_ENTRIES <= state.keys():
        raise UserError(f"{path} is not a state to go on from; --resume takes the last.pt of a run folder")
    try:
        _check_values(state)
    except ValueError as error:
        raise UserError(f"{path} is not a state to go on from: {one_line(error)}") from error
    return state


def _check_values(state: Mapping[str, Any]) -> None:
    """Raise a ValueError where entries that are read before the state is restored are not what a training saves."""
    for name in ("epoch", "batch"):
        if not isinstance(state[name], int) or state[name] < 0:
            raise ValueError(f"its {name} is not a number of steps")
    checkpoint.check_plain(state["args"])
    logs = state["logs"]
    if not isinstance(logs, dict) or not all(isinstance(text, str) for text in logs.values()):
        raise ValueError("its logs are no texts")


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
            print(f"warning: {damaged[0]}; going on from {path}", file=sys.stderr)
            # Set aside, or the next save would put it in the place of the good one.
            folder.last.replace(folder.last.with_name("last.pt.damaged"))
        return state
    if damaged:
        raise UserError("\n".join([*damaged, "  go on with : --resume none, which begins anew"]))
    return None
