"""OOD sets from small files of the official layouts: where each is found, and when it may bear the official name."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.io import savemat

from tests.data_files import black_id_data, write_cifar10, write_cifar100, write_images
from utils.cli import options
from utils.data import ood_sets, svhn
from utils.data.id_records import id_set, plain
from utils.data.id_sets import load_id
from utils.data.images import FileImages
from utils.data.ood_files import MissingSet
from utils.data.ood_sets import load_ood
from utils.data.ood_table import OOD_SETS, find_ood_set, full_ood_name
from utils.errors import UserError


def id_data(name="CIFAR-10", size=32, count=20):
    return black_id_data(name, torch.arange(count) % 2, size)


def write_svhn(folder, per_digit, name="test_32x32.mat"):
    """Images whose first pixel counts up; labels 1..10 by turns, as published."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 10 * per_digit
    images = np.zeros((32, 32, 3, count), dtype=np.uint8)
    images[0, 0, 0], images[0, 0, 1] = np.arange(count) // 256, np.arange(count) % 256
    labels = (np.arange(count) % 10 + 1).astype(np.uint8)
    savemat(folder / name, {"X": images, "y": labels[:, None]})
    return images, labels


# ---------------------------------------------------------------- the table


def test_the_tables_of_the_papers():
    five = ("SVHN", "places365", "LSUN", "iSUN", "dtd")
    assert id_set("CIFAR-10").ood == id_set("CIFAR-100").ood == five
    assert id_set("ImageNet-100").ood == ("dtd", "iNaturalist", "SUN", "Places")
    assert id_set("digits").ood[0] == "digits-6-9" and id_set("folder").ood
    assert {row.name: row.count for row in OOD_SETS if row.name in five} == {
        "SVHN": 10_000,
        "places365": 10_000,
        "LSUN": 10_000,
        "iSUN": 8_925,
        "dtd": 5_640,
    }


def test_names_are_unique_and_found_in_any_usual_spelling():
    labels = {plain(label): row.name for row in OOD_SETS for label in (row.name, *row.aliases)}
    assert {plain(row.name) for row in OOD_SETS} <= labels.keys()
    for row in OOD_SETS:
        assert {labels[plain(label)] for label in (row.name, *row.aliases)} == {row.name}
    meant = {
        "textures": "dtd",
        "Places-365": "places365",
        "svhn": "SVHN",
        "cifar_100": "CIFAR-100",
        "lsun-r": "LSUN_resize",
    }
    assert {text: full_ood_name(text) for text in meant} == meant
    for text in ("SVHN_crops", "svhn=photos", "places36", ""):
        assert find_ood_set(text) is None and full_ood_name(text) == text


@pytest.mark.parametrize("text", ["cifar10", "cifar-10", "CIFAR10", "Cifar_10", "cifar 10"])
def test_the_full_name_is_what_a_command_line_stores(text):
    parser = options.OptionParser()
    options.add_id_options(parser)
    assert parser.parse_args(["--in-dataset", text]).in_dataset == "CIFAR-10"


@pytest.mark.parametrize("text", ["cifar", "imagenet", "CIFAR-1", "", "digit"])
def test_names_of_id_sets_that_leave_a_doubt_are_refused(text, capsys):
    parser = options.OptionParser()
    options.add_id_options(parser)
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args(["--in-dataset", text])
    assert "ImageNet-100" in capsys.readouterr().err
    with pytest.raises(UserError, match="unknown ID data set"):
        id_set(text)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(UserError, match="(?s)unknown OOD set: SVHM.*SVHN.*NAME=PATH"):
        load_ood("SVHM", id_data())


@pytest.mark.parametrize("row", [row for row in OOD_SETS if row.kind in ("files", "svhn")], ids=lambda row: row.name)
def test_missing_sets_say_what_where_and_how(tmp_path, row):
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(MissingSet) as caught:
            load_ood(row.name, id_data(), root)
        text = str(caught.value)
        assert caught.value.name == row.name and text.startswith(f"{row.name} not found.\n  looked for : {root}/")
        assert row.source in text and "--ood-loc" in text


# ---------------------------------------------------------------- folders of the table


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("dtd", "dtd/images/banded"),
        ("dtd", "DTD/images/banded"),
        ("places365", "places365"),
        ("places365", "places365/test_subset"),
        ("places365", "Places365/test_subset"),
        ("LSUN", "LSUN/test"),
        ("LSUN_resize", "LSUN_resize/LSUN_resize"),
        ("iSUN", "iSUN/iSUN_patches"),
        ("TinyImageNet_crop", "Imagenet/test"),
        ("TinyImageNet_resize", "Imagenet_resize/Imagenet_resize"),
    ],
)
def test_official_layouts_are_found_and_short_sets_are_partial(tmp_path, name, folder):
    write_images(tmp_path / folder, 3, suffix=".jpg")
    loaded = load_ood(name, id_data(), tmp_path)
    assert loaded.name == f"{name} (partial, 3 of {find_ood_set(name).count:,})" and not loaded.official_complete
    assert loaded.images.shape == (3, 3, 32, 32)


def test_a_set_is_official_only_with_the_official_number_of_readable_images(tmp_path, monkeypatch):
    monkeypatch.setattr(ood_sets, "find_ood_set", lambda name: replaced_count(name, 6))
    write_images(tmp_path / "dtd/images/banded", 3)
    write_images(tmp_path / "dtd/images/dotted", 3)
    loaded = load_ood("Textures", id_data(), tmp_path)
    assert loaded.name == "dtd" and loaded.official_complete and loaded.notes == ()
    (tmp_path / "dtd/images/dotted/00001.png").write_text("damaged")
    loaded = load_ood("dtd", id_data(), tmp_path)
    assert loaded.name == "dtd (partial, 5 of 6)" and not loaded.official_complete
    assert "1 of 6 images skipped" in loaded.notes[0]
    write_images(tmp_path / "dtd/images/woven", 3)
    loaded = load_ood("dtd", id_data(), tmp_path)
    assert loaded.name == "dtd (another selection, 8 of 8)" and not loaded.official_complete


def replaced_count(name, count):
    row = find_ood_set(name)
    return row and replace(row, count=count)


def test_large_sets_are_cut_to_a_fixed_seeded_subset(tmp_path, monkeypatch):
    monkeypatch.setattr(ood_sets, "MAX_IMAGES", 5)
    monkeypatch.setattr(ood_sets, "find_ood_set", lambda name: replaced_count(name, 12))
    write_images(tmp_path / "LSUN/test", 12)
    first, again, other = (load_ood("LSUN", id_data(), tmp_path, seed=seed) for seed in (0, 0, 1))
    assert len(first) == 5 and not first.official_complete and first.name == "LSUN (drawn, 5 of 12)"
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_a_folder_of_unknown_making_never_counts_as_official(tmp_path, monkeypatch):
    monkeypatch.setattr(ood_sets, "find_ood_set", lambda name: replaced_count(name, 4))
    write_images(tmp_path / "TinyImageNet_crop/images", 4)
    loaded = load_ood("TinyImageNet_crop", id_data(), tmp_path)
    assert loaded.name == "TinyImageNet_crop (origin unverified)" and not loaded.official_complete


def test_an_empty_folder_of_the_right_name_is_missing_and_says_so(tmp_path):
    (tmp_path / "dtd" / "images").mkdir(parents=True)
    (tmp_path / "dtd" / "images" / "readme.txt").touch()
    with pytest.raises(MissingSet, match="holds no images"):
        load_ood("dtd", id_data(), tmp_path)


def test_the_root_may_not_be_a_file(tmp_path):
    (tmp_path / "root").touch()
    with pytest.raises(UserError, match="this is a file"):
        load_ood("dtd", id_data(), tmp_path / "root")


def test_imagenet_sized_sets_stay_files(tmp_path):
    write_images(tmp_path / "iNaturalist/images", 3, size=(260, 240), suffix=".jpg")
    loaded = load_ood("iNaturalist", id_data("ImageNet-100", 224), tmp_path)
    assert isinstance(loaded, FileImages) and loaded.name == "iNaturalist (partial, 3 of 10,000)"
    assert next(loaded.batches(2, "cpu")).shape == (2, 3, 224, 224)


# ---------------------------------------------------------------- SVHN


def test_svhn_takes_the_first_of_each_digit(tmp_path, monkeypatch):
    monkeypatch.setattr(svhn, "PER_DIGIT", 3)
    images, labels = write_svhn(tmp_path / "SVHN", 30)
    loaded = load_ood("SVHN", id_data(), tmp_path)
    expected, taken = [], dict.fromkeys(range(1, 11), 0)
    for row, label in enumerate(labels.tolist()):
        if taken[label] < 3:
            taken[label] += 1
            expected.append(images[..., row].transpose(2, 0, 1))
    np.testing.assert_array_equal(loaded.images.numpy(), np.stack(expected))
    assert loaded.name == "SVHN (partial, 30 of 10,000)" and "not the published one" in loaded.notes[0]
    assert [path.name for path in (tmp_path / "SVHN").iterdir()] == ["test_32x32.mat"]


def test_a_selection_from_elsewhere_is_read_where_the_whole_set_is_not_there(tmp_path):
    images, _ = write_svhn(tmp_path / "svhn", 2, svhn.SELECTED_FILE)
    loaded = load_ood("SVHN", id_data(), tmp_path)
    np.testing.assert_array_equal(loaded.images.numpy(), images.transpose(3, 2, 0, 1))
    assert "selected_test_32x32.mat is used as it is" in loaded.notes[0]
    write_svhn(tmp_path / "svhn", 3)
    assert len(load_ood("SVHN", id_data(), tmp_path)) == 30


def test_svhn_of_the_full_size_is_official(tmp_path):
    write_svhn(tmp_path / "svhn", 1_200)
    loaded = load_ood("SVHN", id_data(), tmp_path)
    assert loaded.name == "SVHN" and loaded.official_complete and len(loaded) == 10_000


@pytest.mark.parametrize("fault", ["cut", "no labels", "shape", "labels", "text"])
def test_damaged_svhn_is_named(tmp_path, fault):
    images, labels = write_svhn(tmp_path / "svhn", 2)
    path = tmp_path / "svhn" / "test_32x32.mat"
    if fault == "cut":
        path.write_bytes(path.read_bytes()[:300])
    elif fault == "text":
        path.write_text("<html>moved</html>" * 20)
    else:
        savemat(
            path,
            {
                "no labels": {"X": images},
                "shape": {"X": images[:30], "y": labels},
                "labels": {"X": images, "y": labels[:5]},
            }[fault],
        )
    with pytest.raises(UserError, match="(?s)damaged file.*test_32x32.mat.*--only SVHN"):
        load_ood("SVHN", id_data(), tmp_path)
    assert [file.name for file in (tmp_path / "svhn").iterdir()] == ["test_32x32.mat"]


# ---------------------------------------------------------------- CIFAR as OOD


def test_each_cifar_is_the_others_hard_set(tmp_path):
    write_cifar10(tmp_path / "datasets" / "CIFAR10")
    write_cifar100(tmp_path / "datasets" / "ood" / "CIFAR-100")
    root = tmp_path / "datasets" / "ood"
    ten = load_ood("cifar10", id_data("CIFAR-100"), root)
    assert ten.name == "CIFAR-10 (partial, 20 of 10,000)" and "test_batch" in ten.notes[0]
    assert torch.equal(ten.images, load_id("CIFAR-10", tmp_path / "datasets/CIFAR10").test.images)
    hundred = load_ood("CIFAR-100", id_data("digits", 64), root)
    assert hundred.images.shape == (200, 3, 64, 64)
    with pytest.raises(UserError, match="ID set itself"):
        load_ood("CIFAR-10", id_data("CIFAR-10"), root)


# ---------------------------------------------------------------- generated sets


@pytest.mark.parametrize("name", ["digits-6-9", "photographs", "uniform-noise", "gaussian-noise"])
def test_generated_sets_are_seeded_and_need_nothing(tmp_path, name):
    first, again, other = (load_ood(name, id_data("digits"), tmp_path / "nowhere", seed=s) for s in (0, 0, 1))
    assert first.official_complete and first.size == 32 and len(first) == (714 if name == "digits-6-9" else 20)
    assert first.fingerprint == again.fingerprint
    assert (first.fingerprint == other.fingerprint) == (name == "digits-6-9")
    assert len({row.numpy().tobytes() for row in first.images[:20]}) == 20


def test_noise_has_the_stated_distribution():
    uniform = load_ood("uniform-noise", id_data(count=200)).images.float()
    assert abs(uniform.mean() - 127.5) < 1 and abs(uniform.std() - 73.9) < 1
    gaussian = load_ood("gaussian-noise", id_data(count=200)).images.float()
    # P(N(0.5, 1) < 0) = 0.3085, and as much above 1; half a grey level more on each side by rounding.
    assert abs((gaussian == 0).float().mean() - 0.309) < 0.005 and abs((gaussian == 255).float().mean() - 0.309) < 0.005


def test_patches_may_be_larger_than_the_photographs():
    assert load_ood("photographs", id_data("folder", 500, count=3)).images.shape == (3, 3, 500, 500)


# ---------------------------------------------------------------- folders of your own


def test_own_folders_flat_or_with_classes(tmp_path):
    write_images(tmp_path / "flat", 3)
    write_images(tmp_path / "deep" / "cats", 2)
    write_images(tmp_path / "deep" / "dogs" / "big", 2)
    write_images(tmp_path / "deep" / ".trash", 2)
    assert len(load_ood(f"mine={tmp_path / 'flat'}", id_data())) == 3
    deep = load_ood(f"mine={tmp_path / 'deep'}", id_data())
    assert (deep.name, len(deep), deep.labels, deep.official_complete) == ("mine", 4, None, False)


@pytest.mark.parametrize("name", ["SVHN", "Textures", "tinyimagenet_crop"])
def test_own_folders_cannot_take_an_official_name(tmp_path, name):
    write_images(tmp_path, 2)
    loaded = load_ood(f"{name}={tmp_path}", id_data())
    assert loaded.name == f"{name} (own folder)" and not loaded.official_complete


def test_own_folders_with_faults(tmp_path):
    for text, fault in (
        (f"mine={tmp_path}", "holds no images"),
        (f"mine={tmp_path / 'no'}", "folder not found"),
        ("mine=", "not of the form"),
        ("=x", "not of the form"),
    ):
        with pytest.raises(UserError, match=fault):
            load_ood(text, id_data())
    (tmp_path / "one.png").write_text("x")
    with pytest.raises(UserError, match="(?s)none of 1 images.*one.png"):
        load_ood(f"mine={tmp_path}", id_data())
    with pytest.raises(UserError, match="this is a file"):
        load_ood(f"mine={tmp_path / 'one.png'}", id_data())
