"""Which saved state a run goes on from, and whether that state is of the same run."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.training import checkpoint
from utils.training.run_folder import RunFolder

# Arguments that may differ between the two halves of a run: where it runs, what it shows, how often it saves.
FREE_ARGUMENTS = frozenset(
    "device gpu workers amp channels_last compile deterministic sync_bn id_loc download "
    "print_freq save_every save_epoch eval_freq resume checkpoints name".split()
)


def key_arguments(args: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that make a run what it is, as they look after a round through JSON."""
    return json.loads(json.dumps({key: value for key, value in args.items() if key not in FREE_ARGUMENTS}, default=str))


def saved_state(folder: RunFolder, resume: str, args: Mapping[str, Any]) -> dict[str, Any] | None:
    """The state to go on from, or None for a new run.

    Args:
        resume: "auto" takes the folder's last.pt, or previous.pt where that is damaged; "none" begins anew; anything
            else is the path of a state, which must exist.
        args: arguments of this run; those that make the run must be the saved ones.
    Raises:
        UserError: missing or damaged state, or a state of another run (the differences are listed).
    """
    if resume == "none":
        return None
    state = _auto_state(folder) if resume == "auto" else checkpoint.load(Path(resume))
    if state is None:
        return None
    if not {"epoch", "batch", "modules", "args"} <= state.keys():
        raise UserError(f"{resume} is not a state to go on from; --resume takes the last.pt of a run folder")
    saved, given = key_arguments(state["args"]), key_arguments(args)
    differences = [
        f"--{key.replace('_', '-')}: {saved.get(key)} in the saved state, {given.get(key)} now"
        for key in sorted(saved.keys() | given.keys())
        if saved.get(key) != given.get(key)
    ]
    if differences:
        listed = "\n    ".join(differences)
        raise UserError(
            f"the state in {folder.path} is of a run with other arguments.\n    {listed}\n"
            "  go on with : the same arguments, another --name or --trial, or --resume none to overwrite it"
        )
    return state


def _auto_state(folder: RunFolder) -> dict[str, Any] | None:
    damaged = []
    for path in (folder.last, folder.last.with_name("previous.pt")):
        if not path.exists():
            continue
        try:
            state = checkpoint.load(path)
        except UserError as error:
            damaged.append(str(error))
            continue
        for message in damaged:
            print(f"warning: {message}; going on from {path}", file=sys.stderr)
        return state
    if damaged:
        raise UserError("\n".join([*damaged, "  go on with : --resume none, which begins anew"]))
    return None
