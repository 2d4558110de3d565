"""Reference statistics of a checkpoint: from its evaluation, or from any folder of ID images (detect.py --fit)."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from utils.checkpoint import Checkpoint
from utils.data.class_folders import split_rows
from utils.data.id_records import find_id_set, id_set
from utils.data.id_sets import IDData
from utils.data.image_folder import abridged, list_images, load_files, other_files_note
from utils.data.images import ImageSet
from utils.detection.detector import fitted_score
from utils.detection.reference import Reference, reference_path, save_reference
from utils.errors import UserError, note, one_line, shown, warn
from utils.evaluation.evaluation import Evaluation
from utils.evaluation.features import Features, extract, placed
from utils.evaluation.inputs import InputFormat, trained_format
from utils.evaluation.quick import vote_accuracy
from utils.files import typed


def input_format(checkpoint: Checkpoint) -> InputFormat:
    """Size and normalisation that a checkpoint was trained with.

    Our files say it. Official ones do not: there the stem tells CIFAR from ImageNet.

    Raises:
        UserError: one of another ID set that does not say it.
    """
    if said := trained_format(checkpoint):
        return said
    trained_on = find_id_set(checkpoint.args.get("in_dataset") or "")
    if trained_on is not None and trained_on.mean is None:
        raise UserError(
            f"{checkpoint.path} does not say how its images were normalised\n"
            f"  do         : {typed('eval_cider.py', '--ckpt', checkpoint.path)}, which makes the statistics as well"
        )
    usual = id_set("ImageNet-100" if checkpoint.model.config["stem"] == "imagenet" else "CIFAR-10")
    return InputFormat(usual.size, usual.mean, usual.std)


def keep_reference(checkpoint: Checkpoint, data: IDData, evaluation: Evaluation, *, small: bool = False) -> None:
    """Store what detect.py needs beside an evaluated checkpoint; a warning where that cannot be written.

    Features of ID train are compared with, and scores of ID test give the threshold. The method's usual score, or else
    the first of the evaluation, is the detector's.

    Args:
        small: write a file to be handed on, in half precision, and of the test set a tenth as many features as there
            are training images beside all scores.
    """
    train, test = evaluation.train, evaluation.test
    usual = checkpoint.method.score
    id_scores = {result.name: torch.from_numpy(result.id_scores) for result in evaluation.results}
    reference = _reference(
        checkpoint,
        train,
        test,
        InputFormat(data.size, data.mean, data.std),
        score=usual if usual in id_scores else next(iter(id_scores)),
        k=evaluation.k,
        id_scores=id_scores,
        source=f"{data.name} test" if data.name != "folder" else "the ID test set",
        class_names=tuple(data.class_names),
        id_accuracy=evaluation.id_accuracy["knn"],
    )
    if small:
        rows = torch.linspace(0, len(test.labels) - 1, max(1, len(train.labels) // 10)).round().long()
        reference = replace(reference, bank=reference.bank.half(), held_out=reference.held_out[rows].half())
    place = reference_path(checkpoint.path, small=small)
    try:
        save_reference(place, reference)
    except OSError as error:
        warn(f"the reference statistics for detect.py could not be written: {one_line(error)}")


def _reference(
    checkpoint: Checkpoint, train: Features, held_out: Features, wanted: InputFormat, **facts: Any
) -> Reference:
    """`facts`: what Reference has beside features, input and checkpoint."""
    return Reference(
        bank=train.outputs["penultimate"],
        bank_labels=train.labels,
        held_out=held_out.outputs["penultimate"],
        **wanted._asdict(),
        checkpoint_sha256=checkpoint.sha256,
        **facts,
    )


def fit_reference(
    checkpoint: Checkpoint,
    folder: Path,
    *,
    score: str | None = None,
    k: int,
    seed: int,
    device: torch.device,
    channels_last: bool = False,
    **settings: Any,
) -> Reference:
    """Statistics of the images below `folder`: four fifths become the bank, a fifth drawn with `seed` is held out.

    Where the folder has one folder for each class of the checkpoint, the fifth is one of each class.

    Args:
        score: None for the usual one of the checkpoint's method.
        channels_last: see `placed`.    settings: further ones of `extract`: batch_size, amp, workers.
    Returns:
        the statistics with the scores of the fifth; the user is told of images that are left out.
    Raises:
        UserError: no images, fewer than k to compare with, or a score that they or the checkpoint can not give.
    """
    wanted = input_format(checkpoint)
    images, names = _images_below(folder, wanted.size, checkpoint)
    for text in images.notes:
        note(text)
    groups = torch.zeros(len(images), dtype=torch.int64) if images.labels is None else images.labels
    bank, held_out = split_rows(groups, seed)
    if len(bank) < k:
        raise UserError(
            f"{len(images)} images are too few to fit a detector with K = {k}.\n"
            f"  looked for : {folder}/**/*.jpg, .png, ...\n  do         : give more images of the ID classes, or --K"
        )
    model = placed(checkpoint.model, device, channels_last=channels_last)
    features_of = partial(extract, model, mean=wanted.mean, std=wanted.std, device=device, **settings)
    score = score or checkpoint.method.score
    others = images.subset(held_out)
    train, found = features_of(images.subset(bank)), features_of(others)
    reference = _reference(
        checkpoint,
        train,
        found,
        wanted,
        score=score,
        k=k,
        source=f"the held-out fifth of {folder}",
        class_names=checkpoint.class_names or names,
        id_accuracy=None if images.labels is None else vote_accuracy(train.to(device), found.to(device), k),
    )
    _, fitted = fitted_score(checkpoint, reference, score, device)
    return replace(reference, id_scores={score: fitted(found.to(device).outputs, others).cpu()})


def _images_below(folder: Path, size: int, checkpoint: Checkpoint) -> tuple[ImageSet, tuple[str, ...]]:
    """All images below `folder`, with labels and the names of their classes where its folders are classes."""
    listing = list_images(folder)
    # An image that lies in no folder of a class has ".".
    classes = [shown(Path(*path.relative_to(folder).parent.parts[:1])) for path in listing.paths]
    names, class_notes = _class_names(classes, checkpoint)
    labels = torch.tensor([names.index(name) for name in classes]) if names else None
    notes = (*class_notes, *other_files_note(str(folder), listing.others))
    return load_files(str(folder), listing.paths, size, labels, notes=notes), names


def _class_names(folders: Sequence[str], checkpoint: Checkpoint) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Class names in the network's order, where `folders` are the classes of the checkpoint, else none; and notes.

    A file of the official code names no classes. As many folders as it has classes are taken for them in the order of
    their names, in which torchvision numbers class folders.
    """
    found, trained = sorted(set(folders)), checkpoint.class_names
    if "." not in found and not trained and len(found) == checkpoint.model.config["num_classes"]:
        return tuple(found), ()
    if trained and set(found) <= set(trained):
        return trained, ()
    if not trained or found == ["."]:
        return (), ()
    others = abridged([name for name in found if name not in trained])
    reason = f"folders that are no classes of the checkpoint ({others}; it has {abridged(trained)})"
    return (), (f"{reason}: no classes are taken from the folders",)
