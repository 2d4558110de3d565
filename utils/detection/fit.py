"""Reference statistics of a checkpoint: from its evaluation, or from any folder of ID images (detect.py --fit)."""

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from utils.checkpoint import Checkpoint
from utils.data.class_folders import split_rows
from utils.data.id_records import find_id_set, id_set
from utils.data.id_sets import IDData
from utils.data.image_folder import list_images, load_files, other_files_note
from utils.detection.detector import scorer_of
from utils.detection.reference import Reference, make_reference, reference_path, save_reference
from utils.errors import UserError, one_line
from utils.evaluation.features import Features, extract
from utils.evaluation.inputs import InputFormat, trained_format


def input_format(checkpoint: Checkpoint) -> InputFormat:
    """Size and normalisation that a checkpoint was trained with.

    Our files say it. Official ones do not: there the stem tells CIFAR from ImageNet.

    Raises:
        UserError: a file of this repository that does not say it.
    """
    if said := trained_format(checkpoint):
        return said
    trained_on = find_id_set(checkpoint.args.get("in_dataset") or "")
    if trained_on is not None and trained_on.mean is None:
        raise UserError(
            f"{checkpoint.path} does not say how its images were normalised\n"
            f"  do         : python eval_cider.py --ckpt {checkpoint.path}, which makes the statistics as well"
        )
    usual = id_set("ImageNet-100" if checkpoint.model.config["stem"] == "imagenet" else "CIFAR-10")
    return InputFormat(usual.size, usual.mean, usual.std)


def keep_reference(
    checkpoint: Checkpoint,
    data: IDData,
    train: Features,
    test: Features,
    *,
    score: str,
    k: int,
    device: torch.device,
) -> Path | None:
    """Store what detect.py needs beside an evaluated checkpoint; None, and a warning, where that cannot be written.

    Args:
        train, test: features of the ID set: those of the training set are compared with, and scores of the test set
            give the threshold.
    """
    reference = make_reference(
        scorer_of(checkpoint, score, k),
        train,
        test,
        source=f"{data.name} test" if data.name != "folder" else "the ID test set",
        class_names=data.class_names,
        mean=data.mean,
        std=data.std,
        size=data.size,
        checkpoint_sha256=checkpoint.sha256,
        device=device,
    )
    place = reference_path(checkpoint.path)
    try:
        save_reference(place, reference)
    except OSError as error:
        warnings.warn(f"the reference statistics for detect.py could not be written: {one_line(error)}", stacklevel=2)
        return None
    return place


def fit_reference(
    checkpoint: Checkpoint,
    folder: Path,
    *,
    k: int,
    seed: int,
    device: torch.device,
    batch_size: int,
    amp: str,
    channels_last: bool,
    workers: int,
) -> tuple[Reference, tuple[str, ...]]:
    """Statistics of the images below `folder`: four fifths become the bank, a fifth drawn with `seed` is held out.

    Where the folder has one folder for each class of the checkpoint, the fifth is one of each class.

    Returns:
        the statistics, and notes for the user.
    Raises:
        UserError: no images, or fewer than k + 1.
    """
    wanted = input_format(checkpoint)
    listing = list_images(folder)
    if len(listing.paths) < k + 1:
        raise UserError(
            f"{len(listing.paths)} images are too few to fit a detector with K = {k}.\n"
            f"  looked for : {folder}/**/*.jpg, .png, ...\n  do         : give more images of the ID classes, or --K"
        )
    # An image that lies in no folder of a class has ".".
    classes = [str(Path(*path.relative_to(folder).parent.parts[:1])) for path in listing.paths]
    names = _class_names(classes, checkpoint)
    labels = torch.tensor([names.index(name) for name in classes]) if names else None
    images = load_files(
        str(folder), listing.paths, wanted.size, labels, notes=other_files_note(str(folder), listing.others)
    )
    groups = torch.zeros(len(images), dtype=torch.int64) if images.labels is None else images.labels
    bank, held_out = split_rows(groups, seed)
    features_of = partial(
        extract,
        checkpoint.model.to(device),
        mean=wanted.mean,
        std=wanted.std,
        device=device,
        batch_size=batch_size,
        amp=amp,
        channels_last=channels_last,
        workers=workers,
    )
    reference = make_reference(
        scorer_of(checkpoint, checkpoint.method.score, k),
        features_of(images.subset(bank)),
        features_of(images.subset(held_out)),
        source=f"the held-out fifth of {folder}",
        class_names=checkpoint.class_names or names,
        mean=wanted.mean,
        std=wanted.std,
        size=wanted.size,
        checkpoint_sha256=checkpoint.sha256,
        device=device,
    )
    return reference, images.notes


def _class_names(folders: Sequence[str], checkpoint: Checkpoint) -> tuple[str, ...]:
    """Class names in the network's order, where `folders` are the classes of the checkpoint; else none.

    A file of the official code names no classes. As many folders as it has classes are taken for them in the order of
    their names, in which torchvision numbers class folders.
    """
    found = sorted(set(folders))
    if checkpoint.class_names:
        return checkpoint.class_names if set(found) <= set(checkpoint.class_names) else ()
    return tuple(found) if "." not in found and len(found) == checkpoint.model.config["num_classes"] else ()
