"""ID sets from small files of the official layouts, and from folders with every kind of fault."""

import os
import pickle
import shutil

import numpy as np
import pytest
import torch
from data_files import cifar_batch, write_cifar10, write_cifar100, write_images, write_pickle
from PIL import Image

from utils.data import decode
from utils.data.id_sets import balanced_rows, load_id
from utils.data.images import FileImages, TensorImages
from utils.errors import UserError


def joined(image_set, batch_size=7, workers=0):
    return torch.cat(list(image_set.batches(batch_size, "cpu", workers)))


# ---------------------------------------------------------------- digits


def test_digits_are_split_once_and_for_all():
    data = load_id("digits", seed=1)
    other_seed = load_id("Digits", seed=2)
    assert (len(data.train), len(data.test)) == (869, 214)
    assert data.train.fingerprint == other_seed.train.fingerprint != data.test.fingerprint
    assert data.class_names == ("0", "1", "2", "3", "4", "5") and not data.hflip
    assert data.train.labels.unique().tolist() == data.test.labels.unique().tolist() == list(range(6))
    pixels = data.train.images.double() / 255
    np.testing.assert_allclose(data.mean, pixels.mean(dim=(0, 2, 3)))
    np.testing.assert_allclose(data.std, pixels.std(dim=(0, 2, 3), correction=0))


def test_limit_train_is_balanced_and_seeded():
    limited = load_id("digits", limit_train=100, seed=3)
    assert sorted(limited.train.labels.bincount().tolist()) == [16, 16, 17, 17, 17, 17]
    assert limited.train.fingerprint == load_id("digits", limit_train=100, seed=3).train.fingerprint
    assert limited.train.fingerprint != load_id("digits", limit_train=100, seed=4).train.fingerprint
    assert len(limited.test) == 214
    with pytest.raises(UserError, match="at least 6"):
        load_id("digits", limit_train=5)
    assert "all are used" in load_id("digits", limit_train=10**6).notes[0]


def test_balanced_rows_takes_more_of_the_others_when_a_class_is_small():
    labels = torch.tensor([0] * 50 + [1] * 2 + [2] * 50)
    rows = balanced_rows(labels, 32, seed=0)
    assert labels[rows].bincount().tolist() == [15, 2, 15] and len(rows.unique()) == 32


def test_unknown_name_and_size_are_refused():
    with pytest.raises(UserError, match="digits, CIFAR-10, CIFAR-100, ImageNet-100, folder"):
        load_id("CIFAR")
    with pytest.raises(UserError, match="32 x 32"):
        load_id("digits", image_size=64)


# ---------------------------------------------------------------- CIFAR


@pytest.mark.parametrize("inner", [False, True])
def test_cifar10_in_the_order_of_the_files(tmp_path, inner):
    folder = write_cifar10(tmp_path)
    data = load_id("cifar-10", folder if inner else tmp_path)
    expected = np.concatenate([cifar_batch(20, 10, seed=n)["data"] for n in range(1, 6)]).reshape(-1, 3, 32, 32)
    np.testing.assert_array_equal(data.train.images.numpy(), expected)
    assert data.train.labels.tolist() == [i % 10 for i in range(20)] * 5
    assert data.class_names[9] == "class 9" and len(data.test) == 20
    assert data.mean == (0.491, 0.482, 0.447) and data.std == (0.247, 0.244, 0.262) and data.crop_scale == (0.2, 1.0)


def test_one_line_names_all_files_of_another_checksum(tmp_path):
    write_cifar10(tmp_path)
    notes = load_id("CIFAR-10", tmp_path).notes
    assert len([note for note in notes if "checksum" in note]) == 1
    assert "data_batch_1, " in notes[0] and "test_batch" in notes[0] and "\n" not in notes[0]
    assert "20 (official 10,000)" in notes[1]


def test_cifar100_uses_the_fine_labels(tmp_path):
    folder = write_cifar100(tmp_path)
    batch = {**cifar_batch(200, 100, seed=1), "coarse_labels": [0] * 200}
    write_pickle(folder / "train", batch)
    data = load_id("CIFAR-100", tmp_path)
    assert data.train.labels.tolist() == batch["fine_labels"] and len(data.class_names) == 100


def test_batches_with_keys_as_bytes(tmp_path):
    folder = write_cifar10(tmp_path)
    write_pickle(folder / "test_batch", {key.encode(): value for key, value in cifar_batch(30, 10).items()}, protocol=4)
    assert len(load_id("CIFAR-10", tmp_path).test) == 30


def test_missing_cifar_says_where_and_how(tmp_path):
    with pytest.raises(UserError) as caught:
        load_id("CIFAR-10", tmp_path)
    lines = str(caught.value).splitlines()
    assert lines[0] == "CIFAR-10 not found."
    assert lines[1].endswith("cifar-10-batches-py/data_batch_1") and "prepare_data.py --only CIFAR-10" in lines[2]
    folder = write_cifar10(tmp_path)
    (folder / "data_batch_4").unlink()
    with pytest.raises(UserError, match="data_batch_4"):
        load_id("CIFAR-10", tmp_path)


BATCH = cifar_batch(20, 10)


@pytest.mark.parametrize(
    ("batch", "fault"),
    [
        ({**BATCH, "labels": [10] * 20}, "not within 0..9"),
        ({**BATCH, "labels": [-1] * 20}, "not within 0..9"),
        ({**BATCH, "labels": [0] * 19}, "19 labels for 20 images"),
        ({**BATCH, "labels": ["cat"] * 20}, "not whole numbers"),
        ({"data": BATCH["data"]}, "no list of labels"),
        ({**BATCH, "data": BATCH["data"][:, :3000]}, r"shape \(20, 3000\)"),
        ({**BATCH, "data": BATCH["data"].astype(np.int64)}, "int64"),
        ({**BATCH, "data": BATCH["data"][:0], "labels": []}, r"shape \(0, 3072\)"),
        ({"labels": BATCH["labels"]}, "no array of pixels"),
        ([1, 2], "not a dictionary"),
    ],
)
def test_damaged_batches_are_named(tmp_path, batch, fault):
    folder = write_cifar10(tmp_path)
    write_pickle(folder / "data_batch_2", batch)
    with pytest.raises(UserError, match=f"(?s){fault}.*data_batch_2.*prepare_data"):
        load_id("CIFAR-10", tmp_path)


def test_truncated_batch_and_false_meta(tmp_path):
    folder = write_cifar10(tmp_path)
    whole = (folder / "data_batch_3").read_bytes()
    (folder / "data_batch_3").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="(?s)damaged.*data_batch_3"):
        load_id("CIFAR-10", tmp_path)
    (folder / "data_batch_3").write_bytes(whole)
    write_pickle(folder / "batches.meta", {"label_names": ["a"]})
    with pytest.raises(UserError, match="(?s)10 class names.*batches.meta"):
        load_id("CIFAR-10", tmp_path)


def test_batch_that_would_run_code_is_refused(tmp_path):
    class Attack:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    folder = write_cifar10(tmp_path)
    (folder / "test_batch").write_bytes(pickle.dumps({**BATCH, "extra": Attack()}))
    with pytest.raises(UserError, match="(?s)would run code.*test_batch"):
        load_id("CIFAR-10", tmp_path)
    assert not (tmp_path / "ran").exists()


# ---------------------------------------------------------------- folders


def write_classes(root, names=("apple", "pear"), count=10, **options):
    for number, name in enumerate(names):
        write_images(root / name, count, seed=number, **options)


def test_folder_without_a_split_gives_a_fifth_of_each_class_to_the_test_set(tmp_path):
    write_classes(tmp_path, ("яблоко", "梨", "تفاح"))
    data = load_id("folder", tmp_path, seed=5)
    assert data.class_names == tuple(sorted(("яблоко", "梨", "تفاح")))
    assert data.train.labels.bincount().tolist() == [8] * 3 and data.test.labels.bincount().tolist() == [2] * 3
    assert isinstance(data.train, TensorImages) and data.size == 64
    again, other = load_id("folder", tmp_path, seed=5), load_id("folder", tmp_path, seed=6)
    assert data.test.fingerprint == again.test.fingerprint != other.test.fingerprint
    rows = {row.numpy().tobytes() for row in data.train.images} | {row.numpy().tobytes() for row in data.test.images}
    assert len(rows) == 30


@pytest.mark.parametrize("test_name", ["val", "test", "Val"])
def test_folder_with_a_split(tmp_path, test_name):
    write_classes(tmp_path / "train", count=4)
    write_classes(tmp_path / test_name, count=3)
    data = load_id("folder", tmp_path, image_size=32)
    assert (len(data.train), len(data.test), data.size) == (8, 6, 32)
    assert data.test.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_large_images_stay_files_and_give_the_same_pixels(tmp_path):
    write_classes(tmp_path, size=(80, 100))
    data = load_id("folder", tmp_path, image_size=96)
    assert isinstance(data.train, FileImages)
    images = joined(data.train, workers=2)
    assert images.shape == (16, 3, 96, 96)
    for path, image in zip(data.train.paths, images, strict=True):
        np.testing.assert_array_equal(decode.resize_center_crop(decode.open_rgb(path), 96), image)


@pytest.mark.parametrize("image_size", [32, 96])
def test_unreadable_images_are_counted_and_named(tmp_path, image_size):
    write_classes(tmp_path, suffix=".jpg")
    (tmp_path / "apple" / "empty.jpg").touch()
    (tmp_path / "apple" / "page.png").write_text("<html>")
    whole = (tmp_path / "pear" / "00000.jpg").read_bytes()
    (tmp_path / "pear" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "pear" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "pear" / "notes.txt").write_text("x")
    os.mkfifo(tmp_path / "pear" / "pipe.png")
    data = load_id("folder", tmp_path, image_size=image_size)
    assert len(data.train) + len(data.test) == 20
    notes = "\n".join(data.notes)
    assert "5 of 25 images skipped" in notes and "1 files are not images by their names: notes.txt" in notes
    for name in ("empty.jpg", "page.png", "cut.jpg", "gone.jpg (broken link", "pipe.png (not a regular file)"):
        assert name in notes


def test_faulty_folders(tmp_path):
    write_classes(tmp_path)
    (tmp_path / "plum").mkdir()
    with pytest.raises(UserError, match="class 'plum' has no images"):
        load_id("folder", tmp_path)
    (tmp_path / "plum" / "a.png").write_text("no image")
    with pytest.raises(UserError, match="no image to train on in class plum"):
        load_id("folder", tmp_path)
    shutil.rmtree(tmp_path / "plum")
    shutil.rmtree(tmp_path / "pear")
    with pytest.raises(UserError, match="a single class"):
        load_id("folder", tmp_path)
    with pytest.raises(UserError, match="this is a file"):
        load_id("folder", tmp_path / "apple" / "00000.png")
    with pytest.raises(UserError, match="no class folders"):
        load_id("folder", tmp_path / "apple")
    with pytest.raises(UserError, match="folder not found"):
        load_id("folder", tmp_path / "nowhere")
    with pytest.raises(UserError, match="--id-loc"):
        load_id("folder")
    with pytest.raises(UserError, match="--download"):
        load_id("folder", tmp_path, download=True)


def test_faulty_splits(tmp_path):
    write_classes(tmp_path / "train")
    with pytest.raises(UserError, match="no test images found"):
        load_id("folder", tmp_path)
    write_classes(tmp_path / "val", ("apple", "plum"))
    with pytest.raises(UserError, match="not trained: plum"):
        load_id("folder", tmp_path)


def test_image_that_disappears_is_named_not_a_traceback(tmp_path):
    write_classes(tmp_path, size=(80, 80))
    data = load_id("folder", tmp_path, image_size=96)
    data.train.paths[9].write_bytes(b"overwritten")
    for workers in (0, 1):
        with pytest.raises(UserError) as caught:
            joined(data.train, workers=workers)
        assert str(data.train.paths[9]) in str(caught.value) and "Traceback" not in str(caught.value)


def test_a_file_that_may_not_be_read_is_skipped(tmp_path, monkeypatch):
    # A test that runs as root can read everything, so the refusal of the system is played.
    write_classes(tmp_path)
    opened = Image.open

    def refuse(path, *args, **kwargs):
        if path.name == "00003.png":
            raise PermissionError(13, "Permission denied")
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(decode.Image, "open", refuse)
    assert "2 of 20 images skipped" in load_id("folder", tmp_path).notes[0]


def test_a_link_that_leads_round_is_followed_once(tmp_path):
    write_classes(tmp_path)
    (tmp_path / "apple" / "round").symlink_to(tmp_path)
    (tmp_path / "plum").symlink_to(tmp_path / "pear")
    data = load_id("folder", tmp_path)
    assert data.class_names == ("apple", "pear", "plum")


def test_imagenet_100_layout(tmp_path):
    for part, count in (("train", 3), ("val", 2)):
        write_classes(tmp_path / part, ("n01440764", "n01443537"), count=count, size=(300, 250), suffix=".JPEG")
    data = load_id("ImageNet-100", tmp_path)
    assert isinstance(data.train, FileImages) and data.size == 224 and data.crop_scale == (0.4, 1.0)
    assert joined(data.test).shape == (4, 3, 224, 224) and data.test.labels.tolist() == [0, 0, 1, 1]
    assert data.notes == ("ImageNet-100: 2 classes in place of 100",)
    shutil.rmtree(tmp_path / "val" / "n01440764")
    with pytest.raises(UserError, match="lacks classes of train/: n01440764"):
        load_id("ImageNet-100", tmp_path)
    with pytest.raises(UserError, match="ImageNet-100 not found"):
        load_id("ImageNet-100", tmp_path / "nowhere")


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


def test_16_bit_images_are_scaled_and_not_clipped(tmp_path):
    values = np.linspace(0, 65535, 32 * 32).round().astype(np.uint16).reshape(32, 32)
    for suffix in ("png", "tiff", "pgm"):
        Image.fromarray(values).save(tmp_path / f"image.{suffix}")
        pixels = np.asarray(decode.open_rgb(tmp_path / f"image.{suffix}"))
        np.testing.assert_array_equal(pixels[..., 0], np.rint(values / 257))


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
