"""Export of features to TensorBoard's embedding projector."""

from pathlib import Path

import torch

from utils.evaluation.evaluation import ID_TEST, Evaluation
from utils.evaluation.projection import sample_rows

POINTS_PER_SET = 1000


def write_projector(folder: Path, evaluation: Evaluation, class_names: tuple[str, ...], *, seed: int) -> Path:
    """Write unit penultimate features of ID test and the OOD sets, with set and class of each, for `tensorboard`.

    At most 1,000 points of a set, drawn with `seed`. Files of an earlier export of these numbers are replaced.

    Returns:
        the folder to give to `tensorboard --logdir`.
    Raises:
        OSError: the place cannot be written to.
    """
    from torch.utils.tensorboard import SummaryWriter

    place = folder / "projector"
    rows, described = [], []
    for name, features in evaluation.features.items():
        some = sample_rows(features, POINTS_PER_SET, seed)
        rows.append(features[some])
        labels = evaluation.test.labels[some].tolist() if name == ID_TEST else [None] * len(some)
        described += [(name, "" if label is None else class_names[label]) for label in labels]
    for old in place.glob("events.out.tfevents.*"):
        old.unlink()
    with SummaryWriter(place) as writer:
        writer.add_embedding(torch.cat(rows), metadata=described, metadata_header=["set", "class"], tag="features")
    return place
