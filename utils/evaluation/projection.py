"""Features projected to the plane for pictures, by PCA and t-SNE, and exported to TensorBoard's embedding projector."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from utils.evaluation.evaluation import ID_TEST, Evaluation

# More points than these would hide each other; t-SNE takes well under a minute for them on one CPU core.
MOST_POINTS = {"tsne": 4_000, "pca": 8_000}
EXPORTED_POINTS = 1_000  # of each set


def sample_rows(rows: Tensor, count: int, seed: int) -> Tensor:
    """Indices of at most `count` rows, ascending: which ones depends on the seed and the number of rows alone."""
    if len(rows) <= count:
        return torch.arange(len(rows))
    return torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:count].sort().values


def project(
    groups: dict[str, Tensor], fit_on: str, method: str, seed: int
) -> tuple[dict[str, np.ndarray], tuple[str, str]]:
    """Project groups of features (N_i, D) to the plane together.

    Args:
        fit_on: the group whose principal axes PCA shows, so that the picture of ID does not change with the OOD sets.
        method: "pca", or "tsne" (van der Maaten & Hinton 2008; seeded, on 50 principal components).
    Returns:
        group -> (N_i, 2), and what the two axes are, in words.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    reference = groups[fit_on].double().numpy()
    pca = PCA(2 if method == "pca" else min(50, *reference.shape), svd_solver="full").fit(reference)
    flat = {name: pca.transform(rows.double().numpy()) for name, rows in groups.items()}
    if method == "pca":
        shares = enumerate(np.nan_to_num(pca.explained_variance_ratio_), 1)
        return flat, tuple(f"principal component {i} ({100 * share:.0f} % of ID's variance)" for i, share in shares)
    together = np.concatenate(list(flat.values()))
    perplexity = min(30.0, (len(together) - 1) / 3)
    placed = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(together)
    ends = np.cumsum([len(rows) for rows in flat.values()])[:-1]
    return dict(zip(flat, np.split(placed, ends), strict=True)), ("t-SNE 1", "t-SNE 2")


def write_projector(folder: Path, evaluation: Evaluation, class_names: tuple[str, ...], *, seed: int) -> Path:
    """Write unit penultimate features of ID test and the OOD sets, with set and class of each, for `tensorboard`.

    At most 1,000 points of a set, drawn with `seed`. Files of an earlier export of these numbers are replaced.

    Returns:
        the folder to give to `tensorboard --logdir`.
    """
    from torch.utils.tensorboard import SummaryWriter

    place = folder / "projector"
    rows, described = [], []
    for name, features in evaluation.features.items():
        some = sample_rows(features, EXPORTED_POINTS, seed)
        rows.append(features[some])
        labels = evaluation.test.labels[some].tolist() if name == ID_TEST else [None] * len(some)
        described += [(name, "" if label is None else class_names[label]) for label in labels]
    for old in place.glob("events.out.tfevents.*"):
        old.unlink()
    with SummaryWriter(place) as writer:
        writer.add_embedding(torch.cat(rows), metadata=described, metadata_header=["set", "class"], tag="features")
    return place
