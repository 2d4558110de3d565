"""Colour jitter, random greyscale and normalisation of a batch, each a few operations for all images together.

Brightness, contrast and saturation all are x' = clamp(f x + (1 - f) t) with t = 0, the image's mean grey, or the
pixel's grey. Each is linear in the three channels of a pixel, so a step is a 3x3 matrix and an offset per image. Hue
has its own formula and stands once, at one of four places in the random order. So the steps of an image are laid out as

    3 matrix steps | hue | 3 matrix steps | greyscale and normalisation (one matrix and offset)

where a step before or after the hue that an image does not have is the identity. Everything is drawn on the CPU, a few
numbers an image, and laid out where the images are, as one row of COLOR_COLUMNS floats an image.
"""

import torch
from torch import Tensor

GREY_WEIGHTS = (0.2989, 0.587, 0.114)  # torchvision's, ITU-R 601
LEVELS = 255.0

STEPS = 3  # matrix steps before the hue, and again after it
STEP_COLUMNS = 12  # 3x3 matrix, then 3 weights that turn the channels' means into an offset
HUE_COLUMNS = 3  # rotation in turns, seen from each channel
FINISH_COLUMNS = 12  # 3x3 matrix, then 3 offsets
COLOR_COLUMNS = 2 * STEPS * STEP_COLUMNS + HUE_COLUMNS

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)  # numbering of torchvision's ColorJitter


def draw_jitter(
    n: int, generator: torch.Generator, *, strength: tuple[float, float, float, float], probability: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw the factors and the order of ColorJitter(*strength) for n images, each left alone with 1 - probability.

    Returns:
        factors (n, 4): brightness, contrast, saturation uniform in 1 -+ strength, hue uniform in -+ strength (turns);
        order (n, 4): random permutations of the numbers of these four;
        chosen (n,) bool: False where the factors are those that change nothing.
    """
    neutral = torch.tensor([1.0, 1.0, 1.0, 0.0])
    uniform = torch.rand(n, 4, generator=generator) * 2 - 1
    order = torch.rand(n, 4, generator=generator, dtype=torch.float64).argsort(dim=1)
    chosen = torch.rand(n, generator=generator) < probability
    factors = torch.where(chosen[:, None], neutral + uniform * torch.tensor(strength), neutral)
    return factors, order, chosen


def jitter_columns(factors: Tensor, order: Tensor) -> Tensor:
    """Lay out jitter factors (n, 4) applied in `order` (n, 4) as (n, COLOR_COLUMNS) numbers for `jitter`."""
    n, device = len(factors), factors.device
    grey = _on_device(GREY_WEIGHTS, device)
    towards = 1 - factors[:, :HUE]
    steps = torch.zeros(n, 4, 4, 3, device=device)  # image x adjustment x (matrix rows, mean weights) x channel
    steps[:, :, :3] = torch.eye(3, device=device)
    steps[:, :HUE, :3] *= factors[:, :HUE, None, None]
    steps[:, SATURATION, :3] += towards[:, SATURATION, None, None] * grey
    steps[:, CONTRAST, 3] = towards[:, CONTRAST, None] * grey
    place = order.argsort(dim=1)  # image x adjustment
    slot = place + (STEPS - 1) * (place > place[:, HUE:])
    slots = torch.eye(4, 3, device=device).repeat(n, 2 * STEPS, 1, 1)
    slots[torch.arange(n, device=device)[:, None], slot] = steps  # the hue's own matrix is the identity
    channel = torch.arange(3, device=device) / 3
    return torch.cat([slots.flatten(1), factors[:, HUE:] - channel], dim=1)


def finish_columns(grey: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """(n, FINISH_COLUMNS) numbers for `finish`: greyscale where `grey` (n,) is true, then (x / 255 - mean) / std."""
    weights = _on_device(GREY_WEIGHTS, grey.device).expand(3, 3)
    deviation = _on_device(std, grey.device)
    matrix = torch.where(grey[:, None, None], weights, torch.eye(3, device=grey.device)) / (LEVELS * deviation[:, None])
    offset = (-_on_device(mean, grey.device) / deviation).expand(len(grey), 3)
    return torch.cat([matrix.flatten(1), offset], dim=1)


def _on_device(values: tuple[float, ...], device: torch.device) -> Tensor:
    """(n,) float32, filled on the device: a copy from the host would make it wait for a GPU."""
    return torch.cat([torch.full((1,), value, device=device) for value in values])


def jitter(pixels: Tensor, columns: Tensor, hue_place: int | None = None) -> Tensor:
    """Colour jitter, equal to torchvision's on float images.

    Args:
        pixels: (n, 3, H*W) float in 0..255.
        columns: (n, COLOR_COLUMNS) from `jitter_columns`.
        hue_place: 0..3 when the hue is at that place of the order in every image, which saves the identity steps.
    Returns:
        (n, 3, H*W) in 0..255.
    """
    steps = columns[:, :-HUE_COLUMNS].unflatten(1, (2 * STEPS, 4, 3))
    before = range(STEPS if hue_place is None else hue_place)
    after = range(STEPS + (hue_place or 0), 2 * STEPS)
    for step in before:
        pixels = _matrix_step(pixels, steps[:, step])
    pixels = rotate_hue(pixels, columns[:, -HUE_COLUMNS:])
    for step in after:
        pixels = _matrix_step(pixels, steps[:, step])
    return pixels


def _matrix_step(pixels: Tensor, step: Tensor) -> Tensor:
    offset = _product(step[:, 3:], pixels.mean(dim=2, keepdim=True))  # n x 1 x 1
    return _affine(step[:, :3], pixels, offset).clamp_(0, LEVELS)


def _affine(matrix: Tensor, pixels: Tensor, offset: Tensor) -> Tensor:
    """matrix @ pixels + offset, image by image: (n, 3, 3), (n, 3, P), (n, 3 or 1, 1) -> (n, 3, P)."""
    if torch.compiler.is_compiling():
        return _product(matrix, pixels) + offset
    return torch.baddbmm(offset, matrix, pixels)


def _product(matrix: Tensor, pixels: Tensor) -> Tensor:
    if torch.compiler.is_compiling():  # makes one kernel of sums and of what surrounds them, but not of a library's bmm
        return (matrix.unsqueeze(3) * pixels.unsqueeze(1)).sum(dim=2)
    return torch.bmm(matrix, pixels)


def rotate_hue(pixels: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue of HSV and keep value and saturation, without going through HSV.

    With M, m the largest and smallest channel and C = M - m, the angle of a colour from red on the hue hexagon is
    (M - 2m - R + G + B) / 6C turns, on the side of green where G > B. A channel at the angle a from its own primary is
    M - C clamp(6|a| - 1, 0, 1): full within a sixth of a turn, none beyond a third.

    Args:
        pixels: (n, 3, P) float, any range.
        turns: (n, 3): the rotation, less the angle of each channel's primary (0, 1/3, 2/3).
    """
    red, green, blue = pixels.unbind(1)
    largest, smallest = pixels.amax(dim=1), pixels.amin(dim=1)
    chroma = largest - smallest
    side = green - blue
    angle = (green + blue).sub_(red).add_(largest).sub_(smallest, alpha=2)
    angle.div_((6 * chroma).clamp_(min=1e-6)).copysign_(side)
    apart = angle.unsqueeze(1) + turns.unsqueeze(2)  # n x 3 x P
    apart = apart.sub_(apart.round()).abs_()
    missing = apart.sub_(1 / 6).clamp_(0, 1 / 6)
    return torch.addcmul(largest.unsqueeze(1), missing, chroma.unsqueeze(1), value=-6)


def finish(pixels: Tensor, columns: Tensor) -> Tensor:
    """Greyscale and normalisation: (n, 3, P) in 0..255 with (n, FINISH_COLUMNS) from `finish_columns` -> (n, 3, P)."""
    return _affine(columns[:, :9].unflatten(1, (3, 3)), pixels, columns[:, 9:, None])
