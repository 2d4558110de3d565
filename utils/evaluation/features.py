"""What a network says about a set of images: one forward pass, and a cache that is checked before it is used."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from utils.checkpoint import load, save
from utils.errors import UserError, one_line, warn

AMP_TYPES = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Features:
    """Outputs of the network for a set of N images, in its order.

    outputs: name -> (N, ...) float32, as the model's `outputs` names them; labels: (N,) int64, or None.
    """

    outputs: dict[str, Tensor]
    labels: Tensor | None

    @property
    def unit(self) -> Tensor:
        """L2-normalised penultimate features, (N, D)."""
        return F.normalize(self.outputs["penultimate"], dim=1)

    def subset(self, rows: Tensor) -> "Features":
        """Those of these images."""
        return self._each(lambda values: values[rows])

    def to(self, device: torch.device) -> "Features":
        """The same on a device."""
        return self._each(lambda values: values.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Features":
        outputs = {name: change(values) for name, values in self.outputs.items()}
        return Features(outputs, None if self.labels is None else change(self.labels))


def extract(
    model: nn.Module,
    image_set: Any,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device | str,
    batch_size: int | None = None,
    amp: str = "off",
    workers: int = 0,
    cache_dir: str | Path | None = None,
    checkpoint_sha: str = "",
) -> Features:
    """Run `model.outputs` over an image set in eval mode, or read what an earlier run has stored.

    Args:
        model: on `device`; `outputs(x)` maps (B, 3, S, S) normalised float32 to a dict of (B, ...) tensors.
        image_set: utils.data.images.ImageSet.    mean, std: of the channels, as fractions of 1.
        batch_size: images per forward pass; by default `images_at_once`.
        amp: "off", "bf16" or "fp16": autocast of the forward pass; results are float32 all the same.
        cache_dir: folder of the cache, or None. Its key is `checkpoint_sha`, the SHA-256 of the checkpoint file, the
            fingerprint of the images, mean, std and amp.
    Returns:
        features on the CPU.
    """

    def compute() -> dict[str, Tensor]:
        batches = image_set.batches(batch_size or images_at_once(device), device, workers)
        outputs = outputs_of(model, batches, mean=mean, std=std, device=device, amp=amp)
        return _collected(outputs, image_set.name, len(image_set))

    if cache_dir is None:
        return Features(compute(), image_set.labels)
    key = json.dumps([checkpoint_sha, image_set.fingerprint, list(mean), list(std), amp])
    return Features(_cached(Path(cache_dir), image_set.name, key, compute), image_set.labels)


def images_at_once(device: torch.device | str) -> int:
    """Images per forward pass that suit a device: 512, and on a CPU 16 a thread, which its caches hold."""
    return 16 * torch.get_num_threads() if torch.device(device).type == "cpu" else 512


def placed(model: nn.Module, device: torch.device, *, channels_last: bool = False) -> nn.Module:
    """The network, moved to a device, in NHWC layout where that is asked for, and on a CPU, where it is faster."""
    layout = torch.channels_last if channels_last or device.type == "cpu" else torch.preserve_format
    return model.to(device, memory_format=layout)


def layout_of(model: nn.Module) -> torch.memory_format:
    """The memory format of the network's convolutions, which its images should have."""
    weight = next((each for each in model.parameters() if each.dim() == 4), torch.empty(0))
    contiguous = weight.is_contiguous() or not weight.is_contiguous(memory_format=torch.channels_last)
    return torch.contiguous_format if contiguous else torch.channels_last


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
) -> Iterator[dict[str, Tensor]]:
    """Yield `model.outputs` in eval mode for each (B, 3, S, S) uint8 batch on `device`; arguments as in `extract`."""
    normalised = normalisation(mean, std, device)
    layout = layout_of(model)
    was_training = model.training
    model.eval()
    try:
        for images in batches:
            x = normalised(images).contiguous(memory_format=layout)
            with torch.autocast(images.device.type, dtype=AMP_TYPES[amp], enabled=amp != "off"):
                outputs = model.outputs(x)
            yield outputs
    finally:
        model.train(was_training)


def _collected(batches: Iterator[dict[str, Tensor]], name: str, count: int) -> dict[str, Tensor]:
    """Outputs of all batches of `count` images as float32 on the CPU."""
    arrays: dict[str, Tensor] = {}
    start = 0
    with tqdm(total=count, desc=name, unit="img", leave=False, disable=None) as progress:
        for outputs in batches:
            for output, values in outputs.items():
                if output not in arrays:
                    # Copies into pinned memory run beside the next batch; the device is waited for once, at the end.
                    arrays[output] = torch.empty(count, *values.shape[1:], pin_memory=values.is_cuda)
                arrays[output][start : start + len(values)].copy_(values, non_blocking=values.is_cuda)
            start += len(values)
            progress.update(len(values))
    if values.is_cuda:
        torch.cuda.synchronize(values.device)
    return arrays


def _cached(folder: Path, name: str, key: str, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", name)[:40]
    path = folder / f"{stem}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.pt"
    # Path.exists raises where the folder may not be entered; there is no cache then, and a warning when it is written.
    if os.path.exists(path):
        try:
            content = load(path, checksum_required=True)
            if content["key"] == key:
                return content["outputs"]
            fault = "it belongs to other settings"
        except (UserError, KeyError) as error:
            fault = one_line(error)
        warn(f"feature cache {path} is damaged ({fault}); computing it again")
    outputs = compute()
    try:
        save({"key": key, "outputs": outputs}, path)
    except UserError as error:
        warn(f"feature cache: {one_line(error)}")
    return outputs
