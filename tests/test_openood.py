"""OpenOOD v1.5's lists, and its sets from small folders of the official layouts."""

import gzip
import hashlib
import json
import struct

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from tests.data_files import black_id_data, cifar_batch, write_cifar10, write_cifar100, write_pickle
from utils.data import openood
from utils.data.id_sets import load_id
from utils.data.ood_files import MissingSet
from utils.data.ood_sets import load_ood
from utils.data.ood_table import OPENOOD_COUNTS
from utils.data.openood import id_rows, load_set, openood_count, validation_set
from utils.errors import UserError

CIFARS = ("CIFAR-10", "CIFAR-100")
# Of the sorted numbers, joined by commas, as they were gathered from OpenOOD's own files.
SHA256 = {
    ("CIFAR-10", "test"): "371b22302b884e6d6d8135e5b9694618be90da2fdcd43357af678e08f85e2bb6",
    ("CIFAR-10", "validation"): "e6bc1e9f1fa301f0c4d44bde631255f60cb20e0f2e840b5519c0191280dc5341",
    ("CIFAR-100", "test"): "2b300e765667f5c195d11e818cd27b6512149ff2a554ba34429d61f4762a2489",
    ("CIFAR-100", "validation"): "bf346720defa287ffca6a2bf4f7da6b91ef002a1aa1e8c4967d6fdcd4400d7d7",
}


def id_data(name, count=10_000):
    classes = 10 if name == "CIFAR-10" else 100
    labels = torch.randint(0, classes, (count,), generator=torch.Generator().manual_seed(0))
    if count == 10_000:  # as many of each class as there are
        labels = torch.arange(classes).repeat(count // classes)[torch.randperm(count)]
    return black_id_data(name, labels)


def write_numbered(folder, names, mode="RGB"):
    """One image a name whose grey level is a hash of it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new(mode, (64, 64), grey(name) if mode == "L" else (grey(name),) * 3).save(folder / name)


def grey(name):
    return hashlib.md5(name.encode()).digest()[0]


# ---------------------------------------------------------------- the lists


@pytest.mark.parametrize("name", CIFARS)
def test_the_lists_are_those_of_openood(name):
    lists = json.loads(openood.LISTS.read_text())[name]
    left_out, validation = set(lists["tin_left_out"]), set(lists["tin_validation"])
    test = set(range(10_000)) - left_out - validation
    assert left_out.isdisjoint(validation) and left_out | validation <= set(range(10_000))
    for part, numbers in (("test", test), ("validation", validation)):
        assert hashlib.sha256(",".join(map(str, sorted(numbers))).encode()).hexdigest() == SHA256[name, part]
    assert (len(test), len(validation)) == {"CIFAR-10": (7_793, 1_000), "CIFAR-100": (6_526, 972)}[name]
    assert len(test) == openood_count("TIN", name) and len(validation) == openood.TIN_VALIDATION_COUNTS[name]
    places = set(lists["places365_left_out"])
    assert places <= set(range(1, 36_501)) and 36_500 - len(places) == openood_count("places365", name)
    assert openood.LISTS.stat().st_size < 100_000 and "OpenOOD" in json.loads(openood.LISTS.read_text())["source"]


def test_counts_of_other_sets_and_id_sets():
    assert OPENOOD_COUNTS["CIFAR-10"]["CIFAR-100"] == 9_000 and OPENOOD_COUNTS["CIFAR-100"]["CIFAR-10"] == 10_000
    assert (
        openood_count("LSUN", "CIFAR-10")
        is openood_count("TIN", "digits")
        is openood_count("CIFAR-10", "CIFAR-10")
        is None
    )
    for load in (id_rows, validation_set, lambda data: load_set("TIN", data)):
        with pytest.raises(UserError, match="for CIFAR-10 and CIFAR-100, not for digits"):
            load(load_id("digits"))
    with pytest.raises(UserError, match="(?s)no OOD set LSUN for CIFAR-10.*MNIST"):
        load_set("LSUN", id_data("CIFAR-10"))


@pytest.mark.parametrize("name", CIFARS)
def test_id_test_and_validation_are_disjoint_and_balanced(name):
    data = id_data(name)
    rows = id_rows(data)
    assert rows.whole and (len(rows.test), len(rows.validation)) == (9_000, 1_000)
    assert torch.cat([rows.test, rows.validation]).sort().values.equal(torch.arange(10_000))
    classes = len(data.class_names)
    assert data.test.labels[rows.validation].bincount().tolist() == [1_000 // classes] * classes
    # By hand: the first validation image of class 3 is that of its first number.
    number = json.loads(openood.LISTS.read_text())[name]["id_validation"][3][0]
    of_class = (data.test.labels == 3).nonzero().squeeze(1)
    assert of_class[number - 1] in rows.validation and of_class[: number - 1].tolist() not in rows.validation.tolist()
    cut = id_rows(id_data(name, 500))
    assert not cut.whole and len(cut.test) + len(cut.validation) == 500


# ---------------------------------------------------------------- the sets


@pytest.mark.parametrize("name", CIFARS)
def test_tin_are_the_images_of_the_list(tmp_path, name):
    write_numbered(tmp_path / "tiny-imagenet-200/val/images", [f"val_{n}.JPEG" for n in range(300)])
    write_numbered(tmp_path / "tiny-imagenet-200/val/images", ["val_x.JPEG", "test_3.JPEG"])
    lists = json.loads(openood.LISTS.read_text())[name]
    chosen = validation_set(id_data(name), tmp_path)
    tin = load_set("tin", id_data(name), tmp_path)
    kept = [n for n in range(300) if n not in {*lists["tin_left_out"], *lists["tin_validation"]}]
    assert sorted(tin.images[:, 0, 0, 0].tolist()) == pytest.approx(sorted(grey(f"val_{n}.JPEG") for n in kept), abs=3)
    assert len(chosen) == len([n for n in lists["tin_validation"] if n < 300])
    assert tin.name == f"TIN (partial, {len(kept)} of {openood_count('TIN', name):,})" and not tin.official_complete
    assert chosen.name.startswith("TIN validation (partial")
    # Without a benchmark TIN are the same images for a CIFAR, and all of them for another ID set.
    assert load_ood("TIN", id_data(name), tmp_path).fingerprint == tin.fingerprint
    assert len(load_ood("tiny-imagenet", load_id("digits"), tmp_path)) == 302


def test_grey_images_and_the_size_are_as_in_openood(tmp_path):
    folder = tmp_path / "tiny-imagenet-200/val/images"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "val_0.png")
    loaded = load_set("TIN", id_data("CIFAR-10"), tmp_path).images
    expected = Image.fromarray(pixels).convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(loaded[0].permute(1, 2, 0).numpy(), np.asarray(expected))


def test_places_are_the_images_of_the_list(tmp_path):
    write_numbered(tmp_path / "places365/val_256", [f"Places365_val_{n:08d}.jpg" for n in range(1, 60)])
    write_numbered(tmp_path / "places365/test_subset", [f"Places365_test_{n:08d}.jpg" for n in range(1, 6)])
    for name, left_out in (("CIFAR-10", {34, 39}), ("CIFAR-100", {17, 33, 38, 45})):
        found = load_set("places365", id_data(name), tmp_path)
        assert (
            len(found) == 59 - len(left_out)
            and f"(partial, {len(found)} of {OPENOOD_COUNTS[name]['places365']:,})" in found.name
        )
    (tmp_path / "places365/val_256").rename(tmp_path / "elsewhere")
    with pytest.raises(MissingSet, match="Places365-val not found"):  # the images of CIDER's table are others
        load_set("places365", id_data("CIFAR-10"), tmp_path)


def write_mnist(folder, counts=(5, 3), packed=True, names=("train-images-idx3-ubyte", "t10k-images-idx3-ubyte")):
    folder.mkdir(parents=True, exist_ok=True)
    rng, images = np.random.default_rng(0), []
    for name, count in zip(names, counts, strict=True):
        pixels = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        content = struct.pack(">4I", 2051, count, 28, 28) + pixels.tobytes()
        (folder / f"{name}{'.gz' * packed}").write_bytes(gzip.compress(content) if packed else content)
        images.append(pixels)
    return np.concatenate(images)


@pytest.mark.parametrize("layout", ["packed", "plain", "Kaggle's"])
def test_mnist_is_both_parts_enlarged(tmp_path, layout):
    names = [f"{part}-images{'.' if layout[0] == 'K' else '-'}idx3-ubyte" for part in ("train", "t10k")]
    pixels = write_mnist(tmp_path / "mnist/raw", packed=layout == "packed", names=names)
    found = load_set("MNIST", id_data("CIFAR-100"), tmp_path)
    assert found.name == "MNIST (partial, 8 of 70,000)"
    expected = Image.fromarray(pixels[6]).convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(found.images[6].permute(1, 2, 0).numpy(), np.asarray(expected))


def test_damaged_mnist_is_named(tmp_path):
    write_mnist(tmp_path / "MNIST")
    path = tmp_path / "MNIST" / "t10k-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[-6] ^= 1  # the CRC at the end
    header = struct.pack(">4I", 2051, 2**31, 28, 28)
    for content in (whole[:100], bytes(flipped), b"<html>", b"", gzip.compress(b"\0" * 20), gzip.compress(header)):
        path.write_bytes(content)
        with pytest.raises(UserError, match="(?s)damaged file.*t10k-images-idx3-ubyte.gz.*--only MNIST"):
            load_set("MNIST", id_data("CIFAR-10"), tmp_path)


def test_svhn_is_the_whole_test_set(tmp_path):
    (tmp_path / "svhn").mkdir()
    images = np.arange(32 * 32 * 3 * 40, dtype=np.uint8).reshape(32, 32, 3, 40)
    savemat(tmp_path / "svhn" / "selected_test_32x32.mat", {"X": images[..., :3], "y": np.ones((3, 1), np.uint8)})
    with pytest.raises(MissingSet, match=r"(?s)SVHN not found \(the whole test set\).*test_32x32.mat"):
        load_set("svhn", id_data("CIFAR-10"), tmp_path)
    savemat(tmp_path / "svhn" / "test_32x32.mat", {"X": images, "y": np.ones((40, 1), np.uint8)})
    found = load_set("svhn", id_data("CIFAR-10"), tmp_path)
    assert found.name == "SVHN (partial, 40 of 26,032)" and torch.equal(
        found.images[7], torch.from_numpy(images[..., 7].transpose(2, 0, 1))
    )
    assert "not the published one" in found.notes[0]


def test_each_cifar_is_near_the_other(tmp_path):
    write_cifar10(tmp_path / "CIFAR10")
    folder = write_cifar100(tmp_path / "CIFAR100")
    write_pickle(folder / "test", {**cifar_batch(10_000, 100), "fine_labels": sorted(range(100)) * 100})
    root = tmp_path / "small_OOD_dataset"
    near = load_set("CIFAR-100", id_data("CIFAR-10"), root)
    assert near.name == "CIFAR-100" and near.official_complete and len(near) == 9_000
    left_out = json.loads(openood.LISTS.read_text())["CIFAR-10"]["near_left_out"]
    pixels = load_id("CIFAR-100", tmp_path / "CIFAR100").test.images
    gone = {(number - 1) * 100 + label for label, numbers in enumerate(left_out) for number in numbers}
    assert len(gone) == 1_000
    assert torch.equal(near.images, pixels[[row for row in range(10_000) if row not in gone]])
    other = load_set("CIFAR-10", id_data("CIFAR-100"), root)
    assert other.name == "CIFAR-10 (partial, 20 of 10,000)" and len(other) == 20


@pytest.mark.parametrize("name", ["TIN", "MNIST", "SVHN", "dtd", "places365"])
def test_missing_sets_are_named(tmp_path, name):
    with pytest.raises(MissingSet, match="not found"):
        load_set(name, id_data("CIFAR-10"), tmp_path / "nowhere")


def test_a_whole_set_has_its_plain_name(tmp_path, monkeypatch):
    monkeypatch.setitem(OPENOOD_COUNTS, "CIFAR-10", {**OPENOOD_COUNTS["CIFAR-10"], "MNIST": 8})
    write_mnist(tmp_path / "MNIST/raw")
    found = load_set("MNIST", id_data("CIFAR-10"), tmp_path)
    assert found.official_complete and found.name == "MNIST"
