"""The folder of an evaluation: found and tried before anything slow, never that of another evaluation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.checkpoint import Checkpoint
from utils.errors import UserError
from utils.files import read_json, require_writable


def evaluation_folder(
    wanted: Path, checkpoint: Checkpoint, settings: Mapping[str, Any], *, overwrite: bool = False
) -> Path:
    """`wanted`, or the first of wanted_2, wanted_3, ... that holds no evaluation of another file or other settings.

    Args:
        settings: of the command line, as metrics.json states them.
        overwrite: take `wanted` whatever it holds.
    Raises:
        UserError: nothing can be written there.
    """
    folder, number = wanted, 1
    while not overwrite and _is_anothers(folder / "metrics.json", checkpoint, settings):
        number += 1
        folder = wanted.with_name(f"{wanted.name}_{number}")
    try:
        require_writable(folder)
    except UserError as error:
        raise UserError(f"the results could not be written: {error}\n  do         : pass --out DIR") from error
    return folder


def _is_anothers(metrics: Path, checkpoint: Checkpoint, settings: Mapping[str, Any]) -> bool:
    """Whether there are figures of another checkpoint file, of other images, or by other settings."""
    if not metrics.exists():
        return False
    try:
        found = read_json(metrics)
        stated = found["settings"]
        same = all(stated[name] == settings[name] for name in ("command", "in_dataset", "id_loc", "ood_loc"))
        return not same or found["checkpoint"]["sha256"] != checkpoint.sha256
    except (OSError, ValueError, KeyError, TypeError):
        return True  # whatever it is, it is not ours to replace
