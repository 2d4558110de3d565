"""What an evaluation starts from: the checkpoint file, and the ID set as its network was trained on it."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from utils.checkpoint import Checkpoint
from utils.data.id_records import ID_SETS
from utils.data.id_sets import IDData, in_order_of, load_id
from utils.errors import UserError, one_line
from utils.files import local


class InputFormat(NamedTuple):
    """How a network wants its images: size of a side, mean and standard deviation of the channels on 0..1."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def trained_format(checkpoint: Checkpoint) -> InputFormat | None:
    """Size and normalisation that a network was trained with; None where its file does not say it, as official ones.

    Raises:
        UserError: the file says something else there.
    """
    said = checkpoint.args.get("input")
    try:
        return said and InputFormat(int(said["size"]), *(tuple(map(float, said[name])) for name in ("mean", "std")))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{checkpoint.path} does not say what its images were like: {one_line(error)}") from error


def find_checkpoint(checkpoints: Path, id_name: str | None, run: str, epoch: int | None) -> Path:
    """The checkpoint file of a run.

    Args:
        checkpoints: folder of all runs.    id_name: None where the run's name is enough.
        epoch: None for the last that is there.
    Raises:
        UserError: nothing is there, or several ID sets have a run of that name.
    """
    folders = [place for place in sorted(checkpoints.glob(f"{id_name or '*'}/*")) if place.is_dir()]
    named = [folder for folder in folders if folder.name == run]
    if not named:
        get_it_by = "training with train_cider.py, train_vos.py or train_mcd.py, or pass --ckpt FILE"
        for record in ID_SETS.values():
            if record.official_run and record.official_run.name == run:
                place = checkpoints / record.name / run / record.official_run.file
                get_it_by = f"hand, it is the authors': {record.official_run.address}\n  put it at  : {place}"
        raise UserError(
            "checkpoint not found: there is no run of that name.\n"
            f"  looked for : {checkpoints / (id_name or '*') / run}\n"
            f"  there are  : {', '.join(str(folder.relative_to(checkpoints)) for folder in folders) or 'none'}\n"
            f"  get it by  : {get_it_by}"
        )
    if len(named) > 1:
        raise UserError(
            f"several runs are called {run}: {', '.join(map(str, named))}\n"
            "  do         : say which with --in-dataset or --ckpt"
        )
    pattern = re.compile(r"checkpoint_(\d+)\.pth\.tar")
    found = {int(match[1]): path for path in named[0].iterdir() if (match := pattern.fullmatch(path.name))}
    epoch = max(found, default=None) if epoch is None else epoch
    if epoch not in found:
        raise UserError(
            f"checkpoint not found.\n"
            f"  looked for : {named[0]}/checkpoint_{'<epoch>' if epoch is None else epoch}.pth.tar\n"
            f"  there are  : epochs {', '.join(map(str, sorted(found))) or 'none'}\n"
            "  get it by  : finishing the training, or pass --ckpt FILE"
        )
    return found[epoch]


def load_id_data(
    checkpoint: Checkpoint, name: str | None, root: Path | None, *, image_size: int | None, download: bool
) -> IDData:
    """The ID set that the checkpoint was trained on: the same images, classes numbered and images normalised alike.

    Arguments that are given override the file. What a file of the official code does not say is the set's own.

    Raises:
        UserError: nobody says which set it is, or its classes are not the checkpoint's.
    """
    trained_on = checkpoint.args.get("in_dataset")
    name = name or trained_on
    if name is None:
        raise UserError(
            f"{checkpoint.path} does not say what it was trained on\n"
            "  do         : pass --in-dataset, for example --in-dataset CIFAR-10"
        )
    # Which part of a set was trained on is known for that set only.
    said: Mapping[str, Any] = checkpoint.args if name == trained_on else {}
    if root is None and said.get("id_loc") and local(said["id_loc"]).exists():
        root = local(said["id_loc"])
    wanted = trained_format(checkpoint)
    data = load_id(
        name,
        root,
        download=download,
        image_size=image_size or (wanted.size if wanted else said.get("image_size")),
        limit_train=said.get("limit_train"),
        seed=said.get("seed", 0),
    )
    classes = checkpoint.model.config["num_classes"]
    if classes and classes != len(data.class_names):  # 0 where its file has no classifier that would tell
        raise UserError(f"{checkpoint.path} was trained on {classes} classes, but {name} has {len(data.class_names)}")
    data = in_order_of(data, checkpoint.class_names, str(checkpoint.path))
    then, now = said.get("train_images", len(data.train)), len(data.train)
    if then != now:
        text = (
            f"{name} had {then:,} training images when the network was trained and has {now:,} now: unless the test "
            "images have a folder of their own, many of them may have been trained on"
        )
        data = replace(data, notes=(*data.notes, text))
    return replace(data, mean=wanted.mean, std=wanted.std) if wanted else data
