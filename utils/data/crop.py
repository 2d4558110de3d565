"""Random resized crops of a batch: boxes drawn on the CPU, bilinear sampling as two small matrix products."""

import math

import torch
from torch import Tensor

CROP_COLUMNS = 5  # top, left, height, width, flip (0 or 1)
ASPECT_RATIOS = (3 / 4, 4 / 3)
TRIES = 10


def draw_boxes(n: int, height: int, width: int, scale: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Draw n boxes of RandomResizedCrop for images of height x width, with torchvision's distribution.

    Area uniform in `scale` (share of the image), aspect ratio log-uniform in (3/4, 4/3), sides rounded to pixels. The
    first of ten tries that fits the image is taken; if none fits, the largest central box whose ratio is allowed.

    Returns:
        (n, 4) float32, whole numbers: top, left, height, width.
    """
    uniform = torch.rand(n, TRIES, 4, generator=generator, dtype=torch.float64)
    area = height * width * (scale[0] + (scale[1] - scale[0]) * uniform[..., 0])
    low, high = (math.log(ratio) for ratio in ASPECT_RATIOS)
    ratio = torch.exp(low + (high - low) * uniform[..., 1])
    w, h = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
    first = fits.to(torch.uint8).argmax(dim=1, keepdim=True)
    w, h, down, right = (each.gather(1, first) for each in (w, h, uniform[..., 2], uniform[..., 3]))  # n x 1
    top, left = (down * (height - h + 1)).floor(), (right * (width - w + 1)).floor()
    boxes = torch.cat([top, left, h, w], dim=1)
    boxes[~fits.any(dim=1)] = torch.tensor(_central_box(height, width), dtype=torch.float64)
    return boxes.float()


def _central_box(height: int, width: int) -> tuple[int, int, int, int]:
    """The whole image, or its middle where its own aspect ratio is outside the allowed range."""
    h, w = height, width
    if width / height < ASPECT_RATIOS[0]:
        h = round(width / ASPECT_RATIOS[0])
    elif width / height > ASPECT_RATIOS[1]:
        w = round(height * ASPECT_RATIOS[1])
    return (height - h) // 2, (width - w) // 2, h, w


def crop_and_flip(images: Tensor, crops: Tensor) -> Tensor:
    """Cut a box out of each image, enlarge it to the image's size (bilinear), and mirror it where asked.

    Equals crop, then resize (the sampling stops at the edge of the box). Where a box reaches over the edge of the
    image, what lies outside is 0, as in a zero-padded crop. No side of a box may be longer than the image's: shrinking
    would need antialiasing.

    Args:
        images: (n, 3, S, S) float.
        crops: (n, 5): top, left, height, width, flip.
    Returns:
        (n, 3, S, S) float of the same range as `images`.
    """
    n, channels, size = images.shape[:3]
    top, left, height, width, flip = crops.unsqueeze(-1).unbind(1)  # each n x 1
    pixel = torch.arange(size, device=images.device, dtype=images.dtype)
    rows = _bilinear_weights(pixel, top, height)
    columns = _bilinear_weights(pixel + flip * (size - 1 - 2 * pixel), left, width)
    wide = torch.bmm(images.reshape(n, channels * size, size), columns.transpose(1, 2)).view(n, channels, size, size)
    return torch.stack([torch.bmm(rows, wide[:, channel]) for channel in range(channels)], dim=1)


def _bilinear_weights(target: Tensor, start: Tensor, length: Tensor) -> Tensor:
    """(n, S, S): weights of the source pixels in each target pixel, for segments (start, length), both (n, 1)."""
    size = target.shape[-1]
    inside = torch.minimum(((target + 0.5) * (length / size) - 0.5).clamp_(min=0), length - 1)
    source = torch.arange(size, device=target.device, dtype=target.dtype)
    distance = ((inside + start).unsqueeze(-1) - source).abs_()
    return distance.neg_().add_(1).clamp_(min=0)
