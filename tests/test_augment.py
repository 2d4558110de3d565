"""The batched augmentation against torchvision: each view pixel by pixel, and the distribution of what is drawn."""

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as tv
from PIL import Image
from scipy import stats
from torchvision.transforms import ColorJitter, RandomCrop, RandomResizedCrop

from utils.data import augment
from utils.data.augment import PaddedCrop, Plain, TwoViews
from utils.data.color import (
    COLOR_COLUMNS,
    FINISH_COLUMNS,
    draw_jitter,
    finish,
    finish_columns,
    jitter,
    jitter_columns,
    rotate_hue,
)
from utils.data.crop import CROP_COLUMNS, crop_and_flip, draw_boxes

MEAN, STD = (0.491, 0.482, 0.447), (0.247, 0.244, 0.262)
ADJUST = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue)
TOLERANCE = 2 / 255


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def some_images(n, size=32, seed=0):
    """Smooth colours, noise, greys, and blocks of pure 0 and 255, so that every branch of the hue is met."""
    source = generator(seed)
    smooth = torch.rand(n, 3, 4, 4, generator=source)
    smooth = torch.nn.functional.interpolate(smooth, size=(size, size), mode="bicubic").clamp(0, 1)
    images = (smooth * 255).round().to(torch.uint8)
    images[1::4] = torch.randint(0, 256, images[1::4].shape, dtype=torch.uint8, generator=source)
    images[2::4] = images[2::4, :1].clone()
    images[3::4] = images[3::4] // 128 * 255
    return images


def two_views(**settings):
    settings = {"crop_scale": (0.2, 1.0), "hflip": True, "mean": MEAN, "std": STD} | settings
    return TwoViews(settings.pop("size", 32), **settings)


def reference_view(image, box, flip, factors, order, grey):
    """One view by torchvision, as a float image in 0..1."""
    top, left, height, width = (int(value) for value in box)
    view = image.float() / 255
    view = tv.resized_crop(view, top, left, height, width, list(image.shape[-2:]), antialias=True)
    view = tv.horizontal_flip(view) if flip else view
    for step in order.tolist():
        view = ADJUST[step](view, factors[step].item())
    return tv.rgb_to_grayscale(view, num_output_channels=3) if grey else view


def test_views_equal_torchvision():
    n = 200
    images, source = some_images(n), generator(1)
    boxes = draw_boxes(n, 32, 32, (0.05, 1.0), source)
    flips = torch.arange(n) % 2 == 1
    factors, order, _ = draw_jitter(n, source, strength=(0.4, 0.4, 0.4, 0.1), probability=1.0)
    grey = torch.arange(n) % 5 == 0

    crops = torch.cat([boxes, flips[:, None].float()], dim=1)
    pixels = jitter(crop_and_flip(images.float(), crops).flatten(2), jitter_columns(factors, order))
    ours = finish(pixels, finish_columns(grey, (0.0,) * 3, (1.0,) * 3)).view(n, 3, 32, 32)

    for i in range(n):
        expected = reference_view(images[i], boxes[i], flips[i], factors[i], order[i], grey[i])
        assert (ours[i] - expected).abs().max() <= TOLERANCE, (i, boxes[i], factors[i], order[i])
    assert len({tuple(row) for row in order.tolist()}) == 24


@pytest.mark.parametrize("turn", [-0.5, -0.3, -0.1, 0.0, 0.04, 0.1, 0.5])
def test_hue_equals_torchvision_on_all_corners_of_the_cube(turn):
    levels = torch.tensor([0.0, 1.0, 127.0, 128.0, 254.0, 255.0])
    colors = torch.cartesian_prod(levels, levels, levels).T
    ours = rotate_hue(colors[None], turn - torch.arange(3)[None] / 3)[0]
    expected = tv.adjust_hue(colors[:, None] / 255, turn)[:, 0] * 255
    assert (ours - expected).abs().max() < 0.01


def test_apply_equals_its_parts_in_every_grouping(monkeypatch):
    """The CPU treats the views sorted by kind and in pieces; the result must be as if all were treated alike."""
    images, augmentation = some_images(50), two_views()
    params = augmentation.draw(50, generator())
    monkeypatch.setattr(augment, "PIXELS_PER_PIECE", 7 * 32 * 32)
    views = augmentation.apply(images, params)
    alike = augmentation._views(images.repeat(2, 1, 1, 1), params.flatten(0, 1), False, None)
    assert views.shape == (100, 3, 32, 32) and views.dtype == torch.float32
    torch.testing.assert_close(views, alike, atol=1e-4, rtol=0)
    channels_last = augmentation.apply(images, params, channels_last=True)
    assert channels_last.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(channels_last, views)


@pytest.mark.parametrize("channels_last", [False, True])
def test_apply_never_asks_the_device_for_a_value(channels_last):
    """Meta tensors have no values: a step that waited for the device to read one would raise here."""
    augmentation = two_views()
    images = some_images(6).to("meta")
    views = augmentation.apply(images, augmentation.draw(6, generator()).to("meta"), channels_last)
    assert views.device.type == "meta" and views.shape == (12, 3, 32, 32)
    assert views.is_contiguous(memory_format=torch.channels_last) == channels_last


def test_untouched_views_are_the_normalised_images():
    images = some_images(8)
    augmentation = two_views(crop_scale=(1.0, 1.0), hflip=False)
    augmentation.jitter_probability = augmentation.grey_probability = 0.0
    params = augmentation.draw(8, generator())
    params[..., 1 : 1 + CROP_COLUMNS] = torch.tensor([0.0, 0.0, 32.0, 32.0, 0.0])
    expected = (images.float() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(augmentation.apply(images, params), expected.repeat(2, 1, 1, 1), atol=1e-5, rtol=0)
    plain = Plain(MEAN, STD)
    torch.testing.assert_close(plain.apply(images, plain.draw(8, generator())), expected, atol=1e-5, rtol=0)


def test_views_of_cropped_images_are_not_cropped_again():
    crops = torch.stack([some_images(6, seed=1), some_images(6, seed=2)], dim=1)  # n x views
    augmentation = two_views()
    params = augmentation.draw(6, generator())
    whole = params.clone()
    whole[..., 1 : 1 + CROP_COLUMNS] = torch.tensor([0.0, 0.0, 32.0, 32.0, 0.0])
    views = augmentation.apply(crops, params)
    for view in range(2):
        expected = augmentation.apply(crops[:, view].contiguous(), whole).view(2, 6, 3, 32, 32)[view]
        torch.testing.assert_close(views.view(2, 6, 3, 32, 32)[view], expected, atol=1e-4, rtol=0)


def test_the_two_views_differ_and_a_row_does_not_depend_on_its_neighbours():
    images, augmentation = some_images(16), two_views()
    params = augmentation.draw(16, generator())
    views = augmentation.apply(images, params)
    assert (views[:16] - views[16:]).abs().flatten(1).amax(dim=1).min() > 0.01
    part = augmentation.apply(images[5:9], params[:, 5:9])
    torch.testing.assert_close(part, torch.cat([views[5:9], views[21:25]]), atol=1e-5, rtol=0)


def test_padded_crop_equals_padding_then_cropping():
    images = some_images(64)
    augmentation = PaddedCrop(32, padding=4, hflip=True, mean=(0.0,) * 3, std=(1.0,) * 3)
    params = augmentation.draw(64, generator())
    views = augmentation.apply(images, params)
    assert views.shape == images.shape
    padded = torch.nn.functional.pad(images, (4, 4, 4, 4))
    for i, (top, left, height, width, flip) in enumerate(params[0, :, :CROP_COLUMNS].int().tolist()):
        assert (height, width) == (32, 32)
        expected = padded[i, :, top + 4 : top + 36, left + 4 : left + 36] / 255
        expected = expected.flip(-1) if flip else expected
        torch.testing.assert_close(views[i], expected, atol=1e-6, rtol=0)


def test_padded_crop_corners_are_uniform():
    params = PaddedCrop(32, padding=4, hflip=False, mean=MEAN, std=STD).draw(9000, generator())[0]
    for corner in params[:, :2].T:
        assert stats.chisquare(np.bincount((corner + 4).int(), minlength=9)).pvalue > 1e-3
    assert params[:, 4].sum() == 0
    assert RandomCrop.get_params(torch.zeros(3, 40, 40), (32, 32))[2:] == (32, 32)


@pytest.mark.parametrize(
    "height, width, scale", [(32, 32, (0.2, 1.0)), (32, 32, (0.9, 1.0)), (60, 90, (0.4, 1.0)), (30, 40, (0.7, 1.0))]
)
def test_boxes_have_torchvision_distribution(height, width, scale):
    n = 4000
    ours = draw_boxes(n, height, width, scale, generator()).double().numpy()
    image = torch.zeros(3, height, width)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        theirs = np.array([RandomResizedCrop.get_params(image, list(scale), [3 / 4, 4 / 3]) for _ in range(n)])
    assert (ours == ours.round()).all()
    assert (ours[:, :2] >= 0).all() and (ours[:, 2:] > 0).all()
    assert (ours[:, 0] + ours[:, 2] <= height).all() and (ours[:, 1] + ours[:, 3] <= width).all()
    measures = [lambda b, k=k: b[:, k] for k in range(4)] + [lambda b: b[:, 2] * b[:, 3], lambda b: b[:, 3] / b[:, 2]]
    for measure in measures:
        assert stats.ks_2samp(measure(ours), measure(theirs)).pvalue > 1e-3


def test_boxes_fall_back_to_the_middle_when_no_try_fits():
    for height, width in ((10, 100), (100, 10), (24, 24)):
        box = RandomResizedCrop.get_params(torch.zeros(3, height, width), [4.0, 4.0], [3 / 4, 4 / 3])
        assert draw_boxes(3, height, width, (4.0, 4.0), generator()).tolist() == [list(map(float, box))] * 3


def test_jitter_has_torchvision_distribution():
    n = 4000
    strength = (0.4, 0.4, 0.4, 0.1)
    factors, order, chosen = draw_jitter(n, generator(), strength=strength, probability=0.8)
    assert abs(chosen.float().mean().item() - 0.8) < 0.03
    assert (factors[~chosen] == torch.tensor([1.0, 1.0, 1.0, 0.0])).all()
    color_jitter = ColorJitter(*strength)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        drawn = [
            ColorJitter.get_params(
                color_jitter.brightness, color_jitter.contrast, color_jitter.saturation, color_jitter.hue
            )
            for _ in range(n)
        ]
    for k in range(4):
        theirs = [row[1 + k] for row in drawn]
        assert stats.ks_2samp(factors[chosen, k].numpy(), theirs).pvalue > 1e-3
    codes = (order * torch.tensor([64, 16, 4, 1])).sum(dim=1)
    assert len(codes.unique()) == 24
    assert stats.chisquare(codes.unique(return_counts=True)[1].numpy()).pvalue > 1e-3


def test_views_are_flipped_and_grey_as_often_as_they_should():
    augmentation = two_views(mean=(0.0,) * 3, std=(1.0,) * 3)
    params = augmentation.draw(3000, generator()).flatten(0, 1)
    assert params.shape[1] == 1 + CROP_COLUMNS + COLOR_COLUMNS + FINISH_COLUMNS
    assert abs(params[:, 5].mean().item() - 0.5) < 0.03
    assert two_views(hflip=False).draw(50, generator())[..., 5].sum() == 0
    views = augmentation.apply(some_images(1, seed=3).expand(3000, 3, 32, 32), params.view(2, 3000, -1))
    grey = (views.amax(dim=1) - views.amin(dim=1)).flatten(1).amax(dim=1) < 1e-5
    assert abs(grey.float().mean().item() - 0.2) < 0.03


def test_the_same_generator_gives_the_same_numbers():
    augmentation = two_views()
    assert torch.equal(augmentation.draw(20, generator(3)), augmentation.draw(20, generator(3)))
    assert not torch.equal(augmentation.draw(20, generator(3)), augmentation.draw(20, generator(4)))


def test_from_file_cuts_the_drawn_boxes():
    pixels = torch.randint(0, 256, (3, 50, 70), dtype=torch.uint8, generator=generator())
    image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    views = two_views(size=24, crop_scale=(0.4, 1.0), hflip=False).from_file(image, 24, generator(5))
    assert views.shape == (2, 3, 24, 24) and views.dtype == torch.uint8
    boxes = draw_boxes(2, 50, 70, (0.4, 1.0), generator(5)).int().tolist()
    for view, box in zip(views, boxes, strict=True):
        expected = tv.resized_crop(pixels, *box, [24, 24], antialias=True)
        assert (view.int() - expected.int()).abs().max() <= 2
    assert Plain(MEAN, STD).from_file(image, 24, generator()).shape == (3, 24, 24)
