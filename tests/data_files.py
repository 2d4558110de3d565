"""Small files in the official layouts, and small sets of images, for the tests of the data wing."""

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from utils.data.id_sets import IDData
from utils.data.images import ImageSet, TensorImages


def cifar_batch(count: int, classes: int, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % classes).tolist()
    data = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
    return {"data": data, "labels" if classes == 10 else "fine_labels": labels}


def write_pickle(path: Path, value: object, protocol: int = 2) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(value, protocol=protocol))


def write_cifar10(root: Path, count: int = 20) -> Path:
    folder = root / "cifar-10-batches-py"
    for number in range(1, 6):
        write_pickle(folder / f"data_batch_{number}", cifar_batch(count, 10, seed=number))
    write_pickle(folder / "test_batch", cifar_batch(count, 10, seed=6))
    write_pickle(folder / "batches.meta", {"label_names": [f"class {i}" for i in range(10)]})
    return folder


def write_cifar100(root: Path, count: int = 200) -> Path:
    folder = root / "cifar-100-python"
    write_pickle(folder / "train", cifar_batch(count, 100, seed=1))
    write_pickle(folder / "test", cifar_batch(count, 100, seed=2))
    write_pickle(folder / "meta", {"fine_label_names": [f"class {i}" for i in range(100)]})
    return folder


def write_images(
    folder: Path, count: int, size: tuple[int, int] = (40, 36), suffix: str = ".png", seed: int = 0
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for number in range(count):
        pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:05d}{suffix}")


def black_id_data(name: str = "none", labels: Sequence[int] | torch.Tensor = (0, 1), size: int = 32) -> IDData:
    """An ID set of black images with these labels, the same ones for training and test."""
    images = TensorImages(name, torch.zeros((len(labels), 3, size, size), dtype=torch.uint8), labels)
    class_names = tuple(f"class {number}" for number in range(int(max(labels)) + 1))
    return IDData(name, images, images, class_names, (0.5,) * 3, (0.5,) * 3, size, (0.2, 1.0), True)


def joined(image_set: ImageSet, batch_size: int = 7, workers: int = 0) -> torch.Tensor:
    """All images of a set, as its batches bring them."""
    return torch.cat(list(image_set.batches(batch_size, "cpu", workers)))
