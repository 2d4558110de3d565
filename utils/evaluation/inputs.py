"""What an evaluation starts from: the checkpoint file, its ID set, the OOD sets, and the features of them all."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.checkpoint import Checkpoint
from utils.data.id_records import id_set
from utils.data.id_sets import IDData, load_id
from utils.data.images import ImageSet
from utils.data.ood_sets import MissingSet, load_ood
from utils.data.ood_table import group_of
from utils.errors import UserError
from utils.evaluation.grid import Missing


def find_checkpoint(checkpoints: Path, id_name: str | None, run: str, epoch: int | None) -> Path:
    """The checkpoint file of a run.

    Args:
        checkpoints: folder of all runs.    id_name: None where the run's name is enough.
        epoch: None for the last that is there.
    Raises:
        UserError: nothing is there, or several ID sets have a run of that name.
    """
    folders = (
        [checkpoints / id_name / run]
        if id_name
        else [place / run for place in sorted(checkpoints.glob("*")) if (place / run).is_dir()]
    )
    if len(folders) > 1:
        raise UserError(
            f"several runs are called {run}: {', '.join(map(str, folders))}\n"
            "  do         : say which with --in-dataset or --ckpt"
        )
    folder = folders[0] if folders else checkpoints / "*" / run
    found = {}
    for path in folder.glob("checkpoint_*.pth.tar"):
        if match := re.fullmatch(r"checkpoint_(\d+)\.pth\.tar", path.name):
            found[int(match[1])] = path
    epoch = max(found, default=None) if epoch is None else epoch
    if epoch not in found:
        there = ", ".join(map(str, sorted(found))) or "none"
        raise UserError(
            f"checkpoint not found.\n"
            f"  looked for : {folder}/checkpoint_{'<epoch>' if epoch is None else epoch}.pth.tar\n"
            f"  there are  : epochs {there}\n"
            "  get it by  : training with train_cider.py, or pass --ckpt FILE"
        )
    return found[epoch]


def load_id_data(
    checkpoint: Checkpoint, name: str | None, root: Path | None, *, image_size: int | None, download: bool
) -> IDData:
    """The ID set that the checkpoint was trained on, the same images; arguments that are given override its file.

    Raises:
        UserError: nobody says which set it is, or it has another number of classes than the checkpoint.
    """
    trained_on = checkpoint.args.get("in_dataset")
    name = name or trained_on
    if name is None:
        raise UserError(
            f"{checkpoint.path} does not say what it was trained on\n"
            "  do         : pass --in-dataset, for example --in-dataset CIFAR-10"
        )
    # Which part of a set was trained on is known for that set only.
    said = checkpoint.args if name == trained_on else {}
    if root is None and said.get("id_loc") and Path(said["id_loc"]).exists():
        root = Path(said["id_loc"])
    data = load_id(
        name,
        root,
        download=download,
        image_size=image_size or said.get("image_size"),
        limit_train=said.get("limit_train"),
        seed=said.get("seed", 0),
    )
    classes = checkpoint.model.config["num_classes"]
    if classes and classes != len(data.class_names):  # 0 where its file has no classifier that would tell
        raise UserError(f"{checkpoint.path} was trained on {classes} classes, but {name} has {len(data.class_names)}")
    return data


@dataclass(frozen=True)
class OODSets:
    """images: name as shown -> set.    in_table: the names among them that the official mean is over.

    groups: "near" or "far" by name, where the benchmark has the set.    missing: the sets that are not on disk.
    """

    images: dict[str, ImageSet]
    in_table: frozenset[str]
    groups: dict[str, str]
    missing: tuple[Missing, ...]


def load_ood_sets(data: IDData, wanted: list[str] | None, root: Path | None, *, seed: int) -> OODSets:
    """Load the OOD sets that are there; None for those of the table of the ID set.

    Raises:
        UserError: none is there, or two have one name.
    """
    official = id_set(data.name).ood
    found: dict[str, ImageSet] = {}
    groups: dict[str, str] = {}
    in_table, missing = set(), []
    for name in wanted or official:
        try:
            images = load_ood(name, data, root, seed=seed)
        except MissingSet as error:
            missing.append(Missing(name, str(error)))
            continue
        if images.name in found:
            raise UserError(f"two OOD sets are called {images.name}; give one another name by NAME=PATH")
        found[images.name] = images
        groups[images.name] = group_of(name, data.name)
        if images.official_complete and images.name in official:
            in_table.add(images.name)
    if not found:
        raise UserError("no OOD set was found.\n" + "\n".join(each.reason for each in missing))
    return OODSets(found, frozenset(in_table), groups, tuple(missing))


def about(
    checkpoint: Checkpoint, data: IDData, settings: dict[str, Any], environment: dict[str, Any]
) -> dict[str, Any]:
    """What metrics.json states beside the metrics: enough to do the same again.

    Args:
        settings: the command line by option.    environment: versions and hardware.
    """
    return {
        "checkpoint": {
            "path": str(checkpoint.path),
            "sha256": checkpoint.sha256,
            "method": checkpoint.method.name,
            "epoch": checkpoint.epoch,
            "model": checkpoint.model.config,
            "trained_with": checkpoint.args,
        },
        "class_names": list(data.class_names),
        "id_train_images": len(data.train),
        "commands": {
            "train": checkpoint.args.get("command"),
            "evaluate": _command(checkpoint, data.name, settings["command"]),
        },
        "settings": {name: str(value) if isinstance(value, Path) else value for name, value in settings.items()},
        "environment": environment,
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
