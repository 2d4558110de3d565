"""Features projected to the plane for pictures: PCA and t-SNE."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

PROJECTIONS = ("tsne", "pca")
# More points than these would hide each other; t-SNE takes well under a minute for them on one CPU core.
MOST_POINTS = {"tsne": 4_000, "pca": 8_000}


@dataclass(frozen=True)
class Projection:
    """method: of PROJECTIONS.    points: group -> (N_i, 2).    axes: what the two axes are, in words."""

    method: str
    points: dict[str, np.ndarray]
    axes: tuple[str, str]


def sample_rows(rows: Tensor, count: int, seed: int) -> Tensor:
    """Indices of at most `count` rows, ascending: which ones depends on the seed and the number of rows alone."""
    if len(rows) <= count:
        return torch.arange(len(rows))
    return torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:count].sort().values


def project(groups: dict[str, Tensor], fit_on: str, method: str, seed: int) -> Projection:
    """Project groups of features (N_i, D) to the plane together.

    Args:
        fit_on: the group whose principal axes PCA shows, so that the picture of ID does not change with the OOD sets.
        method: "pca", or "tsne" (van der Maaten & Hinton 2008; scikit-learn, seeded, on 50 principal components).
    Raises:
        ValueError: an unknown method.
    """
    if method not in PROJECTIONS:
        raise ValueError(f"unknown projection {method!r}; choose from {', '.join(PROJECTIONS)}")
    reference = groups[fit_on].double()
    center = reference.mean(0)
    axes, shares = _principal_axes(reference - center, 2 if method == "pca" else 50)
    flat = {name: ((rows.double() - center) @ axes).numpy() for name, rows in groups.items()}
    if method == "pca":
        first, second = (f"component {i} ({100 * share:.0f} % of ID's variance)" for i, share in enumerate(shares, 1))
        return Projection(method, flat, (f"principal {first}", f"principal {second}"))
    from sklearn.manifold import TSNE

    together = np.concatenate(list(flat.values()))
    perplexity = min(30.0, (len(together) - 1) / 3)
    placed = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(together)
    ends = np.cumsum([len(rows) for rows in flat.values()])[:-1]
    return Projection(method, dict(zip(flat, np.split(placed, ends), strict=True)), ("t-SNE 1", "t-SNE 2"))


def _principal_axes(rows: Tensor, count: int) -> tuple[Tensor, list[float]]:
    """(D, count) right singular vectors with a fixed sign, zero where the rows have fewer dimensions; their shares of
    the variance.
    """
    _, values, vectors = torch.linalg.svd(rows, full_matrices=False)
    axes = vectors[:count].T
    axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
    missing = count - axes.shape[1]
    shares = values.square() / values.square().sum().clamp_min(torch.finfo(values.dtype).tiny)
    return torch.nn.functional.pad(axes, (0, missing)), [*shares[:count].tolist(), *[0.0] * missing]
