"""Two or three dimensions for pictures: PCA, t-SNE, and directions on the ordinary sphere."""

import numpy as np
import torch
from torch import Tensor

PROJECTIONS = ("pca", "tsne")


def sample_rows(rows: Tensor, count: int, seed: int) -> Tensor:
    """Indices of at most `count` rows, ascending: which ones depends on the seed and the number of rows alone."""
    if len(rows) <= count:
        return torch.arange(len(rows))
    return torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:count].sort().values


def project(groups: dict[str, Tensor], fit_on: str, method: str, seed: int) -> dict[str, np.ndarray]:
    """Project groups of features (N_i, D) to the plane together: name -> (N_i, 2).

    Args:
        fit_on: the group whose principal axes PCA shows, so that the picture of ID does not change with the OOD sets.
        method: "pca", or "tsne" (van der Maaten & Hinton 2008; scikit-learn, seeded, on 50 principal components).
    Raises:
        ValueError: an unknown method.
    """
    if method not in PROJECTIONS:
        raise ValueError(f"unknown projection {method!r}; choose from {', '.join(PROJECTIONS)}")
    dimensions = 2 if method == "pca" else 50
    reference = groups[fit_on].double()
    center = reference.mean(0)
    axes = _principal_axes(reference - center, dimensions)
    flat = {name: ((rows.double() - center) @ axes).numpy() for name, rows in groups.items()}
    if method == "pca":
        return flat
    from sklearn.manifold import TSNE

    together = np.concatenate(list(flat.values()))
    perplexity = min(30.0, (len(together) - 1) / 3)
    placed = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(together)
    ends = np.cumsum([len(rows) for rows in flat.values()])[:-1]
    return dict(zip(flat, np.split(placed, ends), strict=True))


def on_ordinary_sphere(prototypes: Tensor, embeddings: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Directions along the three axes in which the prototypes extend most, (C, 3) and (N, 3) unit rows."""
    axes = _principal_axes(prototypes.double(), 3)
    shown = (torch.nn.functional.normalize(rows.double() @ axes, dim=1) for rows in (prototypes, embeddings))
    return tuple(rows.numpy() for rows in shown)


def _principal_axes(rows: Tensor, count: int) -> Tensor:
    """(D, count): right singular vectors with a fixed sign; columns of zeros where the rows have fewer dimensions."""
    axes = torch.linalg.svd(rows, full_matrices=False).Vh[:count].T
    axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
    return torch.nn.functional.pad(axes, (0, count - axes.shape[1]))
