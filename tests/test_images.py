"""Images: decoding of any mode and size, the test transform, fingerprints and subsets of image sets."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data_files import joined, write_images
from utils.data import decode
from utils.data.id_sets import load_id
from utils.data.image_folder import IMAGE_SUFFIXES
from utils.data.images import FileImages, TensorImages, read_image
from utils.data.ood_sets import load_ood
from utils.detection.files import decode_stream

# ---------------------------------------------------------------- decoding


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F", "PA"])
@pytest.mark.parametrize("size", [(1, 1), (32, 32), (50, 33), (33, 50), (1, 400)])
def test_images_of_any_mode_and_size(tmp_path, mode, size):
    grey = Image.new("L", size, 100)
    if mode == "I;16":
        image = Image.fromarray(np.full(size[::-1], 100 * 257, dtype=np.uint16))
    elif mode == "I":
        image = Image.fromarray(np.full(size[::-1], 100 * 257, dtype=np.int32))
    else:
        image = grey.convert("RGBA").convert(mode) if mode == "PA" else grey.convert(mode)
    image.save(tmp_path / "image.tiff" if mode in ("CMYK", "YCbCr", "F", "I", "PA") else tmp_path / "image.png")
    pixels = decode.resize_center_crop(decode.open_rgb(next(tmp_path.iterdir())), 32)
    assert pixels.shape == (3, 32, 32) and pixels.dtype == np.uint8
    if mode != "1":
        assert np.abs(pixels.astype(int) - 100).max() <= 2


def test_every_usual_name_of_a_jpeg_is_one_of_an_image():
    Image.init()
    assert {suffix for suffix, kind in Image.EXTENSION.items() if kind == "JPEG"} <= IMAGE_SUFFIXES


def test_16_bit_images_are_scaled_and_not_clipped(tmp_path):
    values = np.linspace(0, 65535, 32 * 32).round().astype(np.uint16).reshape(32, 32)
    for suffix in ("png", "tiff", "pgm"):
        Image.fromarray(values).save(tmp_path / f"image.{suffix}")
        pixels = np.asarray(decode.open_rgb(tmp_path / f"image.{suffix}"))
        np.testing.assert_array_equal(pixels[..., 0], np.rint(values / 257))


UPRIGHT = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def write_lying(folder, orientation, suffix="png"):
    """UPRIGHT as a camera stores it that was held otherwise."""
    lying = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation](UPRIGHT)
    exif = Image.Exif()
    exif[274] = orientation
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(lying)).save(folder / f"{orientation}.{suffix}", exif=exif, lossless=True)
    return folder / f"{orientation}.{suffix}"


@pytest.mark.parametrize("suffix", ["png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_upright_as_their_exif_says(tmp_path, orientation, suffix):
    path = write_lying(tmp_path, orientation, suffix)
    np.testing.assert_array_equal(np.asarray(decode.open_rgb(path)), UPRIGHT)
    with Image.open(path) as image:  # as detect's Python interface is handed one
        np.testing.assert_array_equal(np.asarray(decode.to_rgb(image)), UPRIGHT)


@pytest.mark.parametrize("size", [24, 96])
def test_every_reader_sees_upright_images(tmp_path, size):
    for name in ("a", "b"):
        for orientation in range(1, 9):
            write_lying(tmp_path / name, orientation)
    expected = decode.resize_center_crop(Image.fromarray(UPRIGHT), size)
    data = load_id("folder", tmp_path, image_size=size)
    sets = [data.train, data.test, load_ood(f"mine={tmp_path / 'a'}", data)]
    batch = next(decode_stream(sorted((tmp_path / "a").iterdir()), size, batch_size=8, threads=1))
    decoded = torch.from_numpy(np.stack([pixels for _, pixels in batch]))
    for images in (*(joined(each) for each in sets), decoded):
        assert len(images) and (images == torch.from_numpy(expected)).all()
    if isinstance(data.train, FileImages):  # of which training crops
        np.testing.assert_array_equal(np.asarray(read_image(data.train.paths[0])), UPRIGHT)


def test_damaged_exif_leaves_the_picture_as_it_is(tmp_path):
    for number, exif in enumerate(
        (b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0rubbish", b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12")
    ):
        path = tmp_path / f"{number}.jpg"
        Image.fromarray(UPRIGHT).save(path, exif=exif, quality=95)
        assert decode.open_rgb(path).size == (60, 40) and decode.check_readable(path) is None


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9_500, 14_000])
def test_huge_images_are_refused_by_their_header(tmp_path, side):
    path = tmp_path / "huge.png"
    Image.new("1", (side, side)).save(path)
    assert "more than 89,478,485" in decode.check_readable(path)
    with pytest.raises(decode.UnreadableImage, match="pixels"):
        decode.open_rgb(path)


@pytest.mark.parametrize("size", [(32, 32), (47, 47), (64, 80), (81, 64), (500, 333), (33, 32), (31, 20), (640, 427)])
@pytest.mark.parametrize("target", [32, 224])
def test_the_test_transform_is_torchvisions(size, target):
    from torchvision.transforms import CenterCrop, Compose, Resize

    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    expected = np.asarray(Compose([Resize(target), CenterCrop(target)])(image)).transpose(2, 0, 1)
    np.testing.assert_array_equal(decode.resize_center_crop(image, target), expected)


def test_an_extreme_strip_does_not_fill_the_memory():
    assert decode.resize_center_crop(Image.new("RGB", (3_000_000, 1)), 224).shape == (3, 224, 224)


# ---------------------------------------------------------------- fingerprints and subsets


def test_fingerprints_change_with_every_content(tmp_path):
    images = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    changed = images.clone()
    changed[3, 2, 7, 7] += 1
    labels = torch.arange(4)
    prints = {
        TensorImages("a", pixels, lab).fingerprint
        for pixels, lab in ((images, None), (changed, None), (images, labels), (images, labels.flip(0)))
    }
    assert len(prints) == 4
    assert TensorImages("a", images).fingerprint == TensorImages("b", images.clone()).fingerprint
    write_images(tmp_path, 3)
    paths = sorted(tmp_path.iterdir())
    first = FileImages("a", paths, 32).fingerprint
    assert first != FileImages("a", paths, 64).fingerprint != FileImages("a", paths[::-1], 64).fingerprint
    stat = paths[1].stat()
    content = bytearray(paths[1].read_bytes())
    content[-20] ^= 1
    paths[1].write_bytes(content)
    os.utime(paths[1], ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert first != FileImages("a", paths, 32).fingerprint


def test_subsets_keep_order_and_labels(tmp_path):
    write_images(tmp_path, 5)
    paths = sorted(tmp_path.iterdir())
    files = FileImages("files", paths, 32, torch.arange(5))
    memory = TensorImages("memory", joined(files), torch.arange(5), official_complete=True)
    for image_set in (files, memory):
        part = image_set.subset([4, 0, 2])
        assert type(part) is type(image_set) and part.labels.tolist() == [4, 0, 2] and not part.official_complete
        torch.testing.assert_close(joined(part), joined(image_set)[[4, 0, 2]])
    with pytest.raises(ValueError, match="labels"):
        TensorImages("x", memory.images, torch.arange(4))
    with pytest.raises(ValueError, match="uint8"):
        TensorImages("x", memory.images.float())


@pytest.mark.parametrize("workers", [0, 1])
def test_a_look_at_files_draws_nothing_that_a_training_would(tmp_path, workers):
    write_images(tmp_path, 2)
    before = torch.get_rng_state()
    joined(FileImages("files", sorted(tmp_path.iterdir()), 32), workers=workers)
    assert torch.equal(torch.get_rng_state(), before)
