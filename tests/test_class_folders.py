"""ID sets in class folders: your own images and ImageNet-100, and folders with every kind of fault."""

import os
import shutil

import numpy as np
import pytest

from tests.data_files import joined, write_images
from utils.data import decode
from utils.data.id_sets import load_id
from utils.data.images import FileImages, TensorImages
from utils.errors import UserError


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


@pytest.mark.parametrize(
    ("train_name", "test_name"),
    [
        ("train", "val"),
        ("train", "test"),
        ("Train", "Val"),
        ("train", "valid"),
        ("TRAIN", "VALIDATION"),
        ("Training", "Testing"),
        ("train", "dev"),
        ("training", "Test"),
    ],
)
def test_folder_with_a_split(tmp_path, train_name, test_name):
    write_classes(tmp_path / train_name, count=4)
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


def test_val_goes_before_test_and_the_other_is_named(tmp_path):
    for part, count in (("train", 4), ("valid", 3), ("test", 2)):
        write_classes(tmp_path / part, count=count)
    data = load_id("folder", tmp_path)
    assert len(data.test) == 6 and "not read, since in no class folder: test" in data.notes[0]


def test_a_class_that_is_not_tested_is_named(tmp_path):
    """Accuracy is then that of the others."""
    write_classes(tmp_path / "train", ("apple", "pear", "plum"))
    write_classes(tmp_path / "val", ("pear",))
    assert load_id("folder", tmp_path).notes == ("folder: no image to test with in class apple, plum",)


@pytest.mark.parametrize("names", [("train", "Training", "val"), ("train", "val", "valid"), ("train", "Train", "test")])
def test_a_split_that_may_be_meant_in_two_ways_is_refused(tmp_path, names):
    for name in names:
        write_classes(tmp_path / name, count=2)
    with pytest.raises(UserError, match="(?s)two folders may be meant.*rain|val, valid"):
        load_id("folder", tmp_path)


def test_a_split_without_one_of_its_parts_is_not_taken_for_classes(tmp_path):
    for name in ("val", "test"):
        write_classes(tmp_path / "a" / name)
        write_images(tmp_path / "flat" / name, 5)
    write_classes(tmp_path / "b" / "Training")
    write_classes(tmp_path / "b" / "extra")
    write_classes(tmp_path / "c" / "dev")
    write_images(tmp_path / "c" / "plum", 5)
    for folder, missing in (("a", "training"), ("flat", "training"), ("b", "test"), ("c", "training")):
        with pytest.raises(UserError, match=f"no {missing} images found"):
            load_id("folder", tmp_path / folder)
    write_images(tmp_path / "flat" / "train", 5)
    with pytest.raises(UserError, match="(?s)no class folders found.*train/<class>"):
        load_id("folder", tmp_path / "flat")


def test_classes_may_be_called_train_and_test(tmp_path):
    write_classes(tmp_path / "vehicles", ("train", "bus"))
    write_classes(tmp_path / "blood", ("control", "Test"))
    assert load_id("folder", tmp_path / "vehicles").class_names == ("bus", "train")
    assert load_id("folder", tmp_path / "blood").class_names == ("Test", "control")


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
