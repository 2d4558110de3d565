"""What metrics.json states beside the metrics: enough to do the same again, and to know which images it was done on."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.checkpoint import Checkpoint
from utils.data.id_sets import IDData
from utils.evaluation.evaluation import ID_TEST
from utils.evaluation.ood import OODSets
from utils.files import portable


def plain_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The command line by option, as JSON knows it."""
    return {
        name: portable(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
        for name, value in settings.items()
    }


def about(
    checkpoint: Checkpoint,
    data: IDData,
    ood: OODSets,
    settings: Mapping[str, Any],
    environment: Mapping[str, Any],
) -> dict[str, Any]:
    """Checkpoint, images, commands, settings, environment.

    Args:
        settings: as `plain_settings` gives them.    environment: versions and hardware.
    """
    images = {"ID train": data.train, ID_TEST: data.test, **{each.name: each.images for each in ood.sets}}
    return {
        "checkpoint": {
            "path": portable(checkpoint.path),
            "sha256": checkpoint.sha256,
            "method": checkpoint.method.name,
            "epoch": checkpoint.epoch,
            "model": checkpoint.model.config,
            "trained_with": checkpoint.args,
        },
        "class_names": list(data.class_names),
        "normalisation": {"size": data.size, "mean": data.mean, "std": data.std},
        "id_train_images": len(data.train),
        "id_files_official": data.official,
        "images_sha256": {name: each.fingerprint for name, each in images.items()},
        "commands": {
            "train": checkpoint.args.get("command"),
            "evaluate": _command(checkpoint, data.name, settings["command"]),
        },
        "settings": dict(settings),
        "environment": dict(environment),
    }


def _command(checkpoint: Checkpoint, id_name: str, options: str) -> str:
    """The command of an evaluation, in which the checkpoint is that of the command that trained it, or a file."""
    trained = checkpoint.args
    if trained.get("command"):
        which = ["--in-dataset", trained["in_dataset"], "--name", trained["name"], "--epoch", str(checkpoint.epoch)]
    else:
        which = ["--in-dataset", id_name, "--ckpt", checkpoint.path.name]
    python, script, *others = shlex.split(options)
    return shlex.join([python, script, *which, *others])
