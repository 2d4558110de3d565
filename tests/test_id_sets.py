"""ID sets by name: digits and CIFAR, from small files of the official layout, sound and damaged."""

import os
import pickle

import numpy as np
import pytest
import torch

from tests.data_files import cifar_batch, write_cifar10, write_cifar100, write_pickle
from utils.data.id_sets import balanced_rows, load_id
from utils.errors import UserError

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
    data = load_id("cifar10", folder if inner else tmp_path)
    expected = np.concatenate([cifar_batch(20, 10, seed=n)["data"] for n in range(1, 6)]).reshape(-1, 3, 32, 32)
    np.testing.assert_array_equal(data.train.images.numpy(), expected)
    assert data.train.labels.tolist() == [i % 10 for i in range(20)] * 5
    assert data.class_names[9] == "class 9" and len(data.test) == 20
    assert data.mean == (0.491, 0.482, 0.447) and data.std == (0.247, 0.244, 0.262) and data.crop_scale == (0.2, 1.0)


def test_one_line_names_all_files_of_another_checksum(tmp_path):
    write_cifar10(tmp_path)
    data = load_id("CIFAR-10", tmp_path)
    notes = data.notes
    assert not data.official
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
