"""Augmentation of whole uint8 batches on the device they lie on: the two views of SimCLR and CIDER, and one-view kinds.

Each kind has `views`, the number of views it makes of an image, and two steps that are kept apart:

    params = augmentation.draw(n, generator, device)    # (views, n, P): what is random about n images, say an epoch's
    batch = augmentation.apply(images, params)          # (views * n, 3, S, S), view 1 of all images first

A process that holds the images [a, b) of an epoch draws for the whole of it and applies `params[:, a:b]`; so the views
do not depend on the number of processes, on the device, or on the batch at which an epoch is entered. The numbers are
drawn on the CPU and laid out for `apply` on the device, where an epoch's take no more kernels than a batch's.
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from utils.data.color import (
    COLOR_COLUMNS,
    FINISH_COLUMNS,
    HUE,
    draw_jitter,
    finish,
    finish_columns,
    jitter,
    jitter_columns,
)
from utils.data.crop import CROP_COLUMNS, crop_and_flip, draw_boxes
from utils.data.decode import resize_center_crop

# On the CPU a batch is treated in pieces of so many pixels per thread, whose intermediates stay in its L2 cache.
PIXELS_PER_PIECE = 64 * 32 * 32
NO_JITTER = -1


class Plain:
    """No augmentation: one view, normalised.

    Args:
        mean, std: of the channels, as fractions of 1.

    Attributes:
        views: views of an image.
        size: side that the images must have, None for any.
    """

    views = 1
    size: int | None = None

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self.mean = mean
        self.std = std

    def draw(self, n: int, generator: torch.Generator, device: torch.device | str = "cpu") -> Tensor:
        """Numbers for `apply`: (views, n, P) float32 on `device`, drawn from a generator of the CPU."""
        numbers = self._random(self.views * n, generator)
        if torch.device(device).type == "cuda":
            numbers = numbers.pin_memory()  # or the copy would make the host wait
        return self._layout(numbers.to(device, non_blocking=True)).view(self.views, n, -1)

    def from_file(self, image: Image.Image, size: int, generator: torch.Generator) -> Tensor:
        """What a loader makes of a decoded image: (3, size, size) uint8, or all its crops as (views, 3, size, size)."""
        return torch.from_numpy(resize_center_crop(image, size))

    def apply(self, images: Tensor, params: Tensor, channels_last: bool = False) -> Tensor:
        """Make the views of a batch.

        Args:
            images: (n, 3, S, S) uint8, or (n, views, 3, S, S) uint8 that are cropped and mirrored already.
            params: (views, n, P) from `draw`, on the device of `images`.
            channels_last: memory format of the result.
        Returns:
            (views * n, 3, S, S) float32 on the device of `images`, view 1 of all images first, normalised.
        """
        cropped = images.ndim == 5
        if cropped:
            images = images.transpose(0, 1).flatten(0, 1)
        columns = params.flatten(0, 1)
        memory_format = torch.channels_last if channels_last else torch.contiguous_format
        if images.device.type != "cpu":
            images = images.repeat(len(columns) // len(images), 1, 1, 1)
            return self._views(images, columns, cropped, None).contiguous(memory_format=memory_format)
        out = torch.empty(len(columns), *images.shape[1:], memory_format=memory_format)
        piece = max(1, PIXELS_PER_PIECE * torch.get_num_threads() // images[0, 0].numel())
        for kind, members in self._kinds(columns):
            for rows in members.split(piece):
                chosen = images.index_select(0, rows % len(images))
                out.index_copy_(0, rows, self._views(chosen, columns.index_select(0, rows), cropped, kind))
        return out

    def _random(self, rows: int, generator: torch.Generator) -> Tensor:
        """The random numbers of each view, (rows, R) float32 on the CPU; R = 0 where nothing is random."""
        return torch.empty(rows, 0)

    def _layout(self, numbers: Tensor) -> Tensor:
        """The columns that `_views` takes, of these numbers."""
        never = torch.zeros(len(numbers), dtype=torch.bool, device=numbers.device)
        return finish_columns(never, self.mean, self.std)

    def _kinds(self, columns: Tensor) -> list[tuple[int | None, Tensor]]:
        """Rows of `columns` sorted into kinds that `_views` can treat with less work than all together."""
        return [(None, torch.arange(len(columns)))]

    def _views(self, images: Tensor, columns: Tensor, cropped: bool, kind: int | None) -> Tensor:
        return finish(images.float().flatten(2), columns).view(images.shape)


class PaddedCrop(Plain):
    """The one view of the cross-entropy baseline and of VOS: RandomCrop(size, padding), black outside, mirroring."""

    def __init__(
        self, size: int, *, padding: int = 4, hflip: bool, mean: tuple[float, ...], std: tuple[float, ...]
    ) -> None:
        super().__init__(mean, std)
        self.size = size
        self.padding = padding
        self.hflip = hflip

    def _random(self, rows: int, generator: torch.Generator) -> Tensor:
        corner = torch.randint(-self.padding, self.padding + 1, (rows, 2), generator=generator).float()
        sides = torch.full((rows, 2), float(self.size))
        return torch.cat([corner, sides, _draw_flips(rows, self.hflip, generator)], dim=1)

    def _layout(self, numbers: Tensor) -> Tensor:
        return torch.cat([numbers, super()._layout(numbers)], dim=1)

    def _views(self, images: Tensor, columns: Tensor, cropped: bool, kind: int | None) -> Tensor:
        crops, last = columns.split([CROP_COLUMNS, FINISH_COLUMNS], dim=1)
        return finish(crop_and_flip(images.float(), crops).flatten(2), last).view(images.shape)


class TwoViews(Plain):
    """The two views of SimCLR as CIDER and SupCon use them.

    RandomResizedCrop(size, crop_scale), random mirroring, ColorJitter(0.4, 0.4, 0.4, 0.1) with probability 0.8,
    greyscale with probability 0.2.

    Args:
        size: S, side of the images and of the views.
        crop_scale: smallest and largest share of the image's area in a crop.
        hflip: mirror with probability 1/2; false for digits.
    """

    views = 2
    strength = (0.4, 0.4, 0.4, 0.1)
    jitter_probability = 0.8
    grey_probability = 0.2

    def __init__(
        self,
        size: int,
        *,
        crop_scale: tuple[float, float],
        hflip: bool,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        super().__init__(mean, std)
        self.size = size
        self.crop_scale = crop_scale
        self.hflip = hflip

    def _random(self, rows: int, generator: torch.Generator) -> Tensor:
        boxes = draw_boxes(rows, self.size, self.size, self.crop_scale, generator)
        flips = _draw_flips(rows, self.hflip, generator)
        factors, order, chosen = draw_jitter(
            rows, generator, strength=self.strength, probability=self.jitter_probability
        )
        grey = torch.rand(rows, 1, generator=generator) < self.grey_probability
        hue_place = torch.where(chosen, (order == HUE).to(torch.uint8).argmax(dim=1), NO_JITTER)
        return torch.cat([hue_place[:, None], boxes, flips, factors, order, grey], dim=1)

    def from_file(self, image: Image.Image, size: int, generator: torch.Generator) -> Tensor:
        boxes = draw_boxes(self.views, image.height, image.width, self.crop_scale, generator).int().tolist()
        flips = _draw_flips(self.views, self.hflip, generator).flatten().tolist()
        views = []
        for (top, left, height, width), flip in zip(boxes, flips, strict=True):
            view = image.crop((left, top, left + width, top + height))
            view = view.resize((size, size), Image.Resampling.BILINEAR)
            view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else view
            views.append(np.asarray(view))
        return torch.from_numpy(np.stack(views).transpose(0, 3, 1, 2).copy())

    def _layout(self, numbers: Tensor) -> Tensor:
        first, factors, order, grey = numbers.split([1 + CROP_COLUMNS, 4, 4, 1], dim=1)
        last = finish_columns(grey[:, 0] > 0, self.mean, self.std)
        return torch.cat([first, jitter_columns(factors, order), last], dim=1)

    def _kinds(self, columns: Tensor) -> list[tuple[int | None, Tensor]]:
        kinds = [(kind, (columns[:, 0] == kind).nonzero().squeeze(1)) for kind in range(NO_JITTER, HUE + 1)]
        return [(kind, rows) for kind, rows in kinds if len(rows)]

    def _views(self, images: Tensor, columns: Tensor, cropped: bool, kind: int | None) -> Tensor:
        _, crops, colors, last = columns.split([1, CROP_COLUMNS, COLOR_COLUMNS, FINISH_COLUMNS], dim=1)
        pixels = images.float()
        if not cropped:
            pixels = crop_and_flip(pixels, crops)
        pixels = pixels.flatten(2)
        if kind != NO_JITTER:
            pixels = jitter(pixels, colors, hue_place=kind)
        return finish(pixels, last).view(images.shape)


def _draw_flips(n: int, hflip: bool, generator: torch.Generator) -> Tensor:
    """(n, 1) float: 1 where an image is mirrored."""
    return ((torch.rand(n, 1, generator=generator) < 0.5) & hflip).float()


def shown_views(images: Tensor, augmentation: Plain, count: int = 8) -> dict[str, Tensor]:
    """A picture for TensorBoard: the views of some images of a batch as the network gets them, a row for each view."""
    rows = torch.cat([view[:count] for view in images.chunk(augmentation.views)]).float().cpu()
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (augmentation.mean, augmentation.std))
    return {"views": (rows * std + mean).clamp(0, 1)}
