"""OOD sets that need no download: noise, and patches of the two photographs that come with scikit-learn."""

import numpy as np
import torch
from PIL import Image


def uniform_noise(count: int, size: int, seed: int) -> torch.Tensor:
    """Every value of every pixel uniform on 0..255: (count, 3, size, size) uint8."""
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, 3, size, size), dtype=np.uint8))


def gaussian_noise(count: int, size: int, seed: int) -> torch.Tensor:
    """Every value normal, mean 0.5 and variance 1 on a scale of 0..1, clipped, as in ODIN (Liang et al. 2018)."""
    values = np.random.default_rng(seed).standard_normal((count, 3, size, size), dtype=np.float32)
    return torch.from_numpy(np.rint((values + 0.5).clip(0, 1) * 255).astype(np.uint8))


def photograph_patches(count: int, size: int, seed: int) -> torch.Tensor:
    """Random squares of a flower and of a temple, by turns: (count, 3, size, size) uint8."""
    from sklearn.datasets import load_sample_images  # which takes a second, and few evaluations need

    photographs = [_at_least(photograph, size) for photograph in load_sample_images().images]
    rng = np.random.default_rng(seed)
    patches = np.empty((count, 3, size, size), dtype=np.uint8)
    for row in range(count):
        photograph = photographs[row % len(photographs)]
        top = rng.integers(photograph.shape[0] - size + 1)
        left = rng.integers(photograph.shape[1] - size + 1)
        patches[row] = photograph[top : top + size, left : left + size].transpose(2, 0, 1)
    return torch.from_numpy(patches)


def _at_least(photograph: np.ndarray, size: int) -> np.ndarray:
    height, width, _ = photograph.shape
    factor = size / min(height, width)
    if factor <= 1:
        return photograph
    enlarged = (max(size, round(width * factor)), max(size, round(height * factor)))
    return np.asarray(Image.fromarray(photograph).resize(enlarged, Image.Resampling.BILINEAR))


SETS = {"photographs": photograph_patches, "uniform-noise": uniform_noise, "gaussian-noise": gaussian_noise}
