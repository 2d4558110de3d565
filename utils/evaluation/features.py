"""What a network says about a set of images: one forward pass, and a cache that is checked before it is used."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from utils.errors import one_line, warn
from utils.files import atomic_write, check_archive

AMP_TYPES = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Features:
    """Outputs of the network for a set of N images, in its order.

    outputs: name -> (N, ...) float32 on the CPU, as the model's `outputs` names them; labels: (N,) int64, or None.
    """

    outputs: dict[str, Tensor]
    labels: Tensor | None

    def subset(self, rows: Tensor) -> "Features":
        """Those of these images."""
        labels = None if self.labels is None else self.labels[rows]
        return Features({name: values[rows] for name, values in self.outputs.items()}, labels)


def extract(
    model: nn.Module,
    image_set: Any,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device | str,
    batch_size: int = 512,
    amp: str = "off",
    channels_last: bool = False,
    workers: int = 0,
    cache_dir: str | Path | None = None,
    checkpoint_sha: str = "",
) -> Features:
    """Run `model.outputs` over an image set in eval mode, or read what an earlier run has stored.

    Args:
        model: on `device`; `outputs(x)` maps (B, 3, S, S) normalised float32 to a dict of (B, ...) tensors.
        image_set: utils.data.images.ImageSet: yields uint8 batches and has a fingerprint of its content and transform.
        mean, std: of the channels, as fractions of 1.
        amp: "off", "bf16" or "fp16": autocast of the forward pass; results are float32 all the same.
        cache_dir: folder of the cache, or None. Its key is the checkpoint, the set's fingerprint, mean, std and amp.
        checkpoint_sha: SHA-256 of the checkpoint file; needed with cache_dir.
    Raises:
        ValueError: no images, an unknown `amp`, or a cache without a checkpoint's hash.
    """
    if amp not in AMP_TYPES:
        raise ValueError(f"unknown amp {amp!r}; choose from {', '.join(AMP_TYPES)}")
    if len(image_set) == 0:
        raise ValueError(f"{image_set.name}: no images to extract features from")

    def compute() -> dict[str, Tensor]:
        return _forward(model, image_set, mean, std, torch.device(device), batch_size, amp, channels_last, workers)

    if cache_dir is None:
        return Features(compute(), image_set.labels)
    if not checkpoint_sha:
        raise ValueError("a feature cache needs the hash of the checkpoint, or two models would share it")
    key = {
        "checkpoint": checkpoint_sha,
        "images": image_set.fingerprint,
        "size": image_set.size,
        "count": len(image_set),
        "mean": list(mean),
        "std": list(std),
        "amp": amp,
    }
    return Features(_cached(Path(cache_dir), image_set.name, key, compute), image_set.labels)


def normalisation(
    mean: Sequence[float], std: Sequence[float], device: torch.device | str
) -> Callable[[Tensor], Tensor]:
    """The map from uint8 images (B, 3, S, S) on `device` to what a network takes: (x / 255 - mean) / std."""
    # As one multiplication and one addition.
    scale = 1 / (255 * torch.tensor(std, device=device).view(3, 1, 1))
    shift = -torch.tensor(mean, device=device).view(3, 1, 1) * 255 * scale
    return lambda images: torch.addcmul(shift, images.float(), scale)


@torch.inference_mode()
def outputs_of(
    model: nn.Module,
    batches: Iterable[Tensor],
    *,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device | str,
    amp: str = "off",
    channels_last: bool = False,
) -> Iterator[dict[str, Tensor]]:
    """Yield `model.outputs` in eval mode for each (B, 3, S, S) uint8 batch on `device`; arguments as in `extract`."""
    device = torch.device(device)
    normalised = normalisation(mean, std, device)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    was_training = model.training
    model.eval()
    try:
        for images in batches:
            x = normalised(images).contiguous(memory_format=layout)
            with torch.autocast(device.type, dtype=AMP_TYPES[amp], enabled=amp != "off"):
                outputs = model.outputs(x)
            yield outputs
    finally:
        model.train(was_training)


@torch.inference_mode()
def _forward(
    model: nn.Module,
    image_set: Any,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device,
    batch_size: int,
    amp: str,
    channels_last: bool,
    workers: int,
) -> dict[str, Tensor]:
    arrays: dict[str, Tensor] = {}
    start = 0
    batches = image_set.batches(batch_size, device, workers)
    with tqdm(total=len(image_set), desc=image_set.name, unit="img", leave=False, disable=None) as progress:
        for outputs in outputs_of(
            model, batches, mean=mean, std=std, device=device, amp=amp, channels_last=channels_last
        ):
            _store(arrays, outputs, start, len(image_set))
            count = len(next(iter(outputs.values())))
            start += count
            progress.update(count)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return arrays


def _store(arrays: dict[str, Tensor], outputs: dict[str, Tensor], start: int, count: int) -> None:
    for name, values in outputs.items():
        if name not in arrays:
            # Copies into pinned memory run beside the next batch; the device is waited for once, at the end.
            # Made outside of inference mode, the arrays can be trained on (a linear probe).
            with torch.inference_mode(False):
                arrays[name] = torch.empty(count, *values.shape[1:], pin_memory=values.is_cuda)
        arrays[name][start : start + len(values)].copy_(values, non_blocking=values.is_cuda)


def _cached(
    folder: Path, name: str, key: dict[str, Any], compute: Callable[[], dict[str, Tensor]]
) -> dict[str, Tensor]:
    text = json.dumps(key, sort_keys=True)
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", name)[:40]
    path = folder / f"{stem}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.npz"
    # Path.exists raises where the folder may not be entered; there is no cache then, and a warning when it is written.
    if os.path.exists(path):
        try:
            return _read(path, text, key["count"])
        except Exception as error:  # numpy and zipfile say nowhere what they raise for bytes that are no archive
            warn(f"feature cache {path} is damaged ({one_line(error)}); computing it again")
    arrays = compute()
    try:
        with atomic_write(path) as stream:
            shapes = np.array(json.dumps(_shapes(arrays)))
            named = {name: values.numpy() for name, values in arrays.items()}
            np.savez(stream, key=np.array(text), shapes=shapes, **named)
    except OSError as error:
        warn(f"feature cache {path} could not be written ({one_line(error)})")
    return arrays


def _read(path: Path, key: str, count: int) -> dict[str, Tensor]:
    """Arrays of a cache file. Each is a member of a zip archive, whose CRC is checked when all of it is read.

    A damaged header can make a member shorter, or hide it; that all are there and whole is checked by their shapes.
    """
    check_archive(path)
    with np.load(path, allow_pickle=False) as archive:
        if str(archive["key"]) != key:
            raise ValueError("it belongs to other settings")
        arrays = {name: torch.from_numpy(archive[name]) for name in archive.files if name not in ("key", "shapes")}
        if _shapes(arrays) != json.loads(str(archive["shapes"])):
            raise ValueError("arrays are missing or cut off")
    if not arrays or any(len(values) != count for values in arrays.values()):
        raise ValueError(f"it does not hold {count} rows")
    return arrays


def _shapes(arrays: dict[str, Tensor]) -> dict[str, list]:
    return {name: [str(values.dtype), *values.shape] for name, values in arrays.items()}
