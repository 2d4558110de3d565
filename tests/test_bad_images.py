"""More than 1,000 faulty images for each loader of folders: right data, a counted and named skip, or one message."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.bad_files import (
    SCRIPTS,
    SIZE,
    BadFile,
    Outcomes,
    as_decoded,
    encoded,
    image_faults,
    is_one_clear_message,
    open_folder,
    photo,
    unprivileged,
)
from tests.data_files import black_id_data
from utils.data.id_sets import IDData, load_id
from utils.data.images import ImageSet
from utils.data.ood_sets import load_ood
from utils.errors import UserError, shown

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning", "ignore::DeprecationWarning"
)
FAULTS = image_faults(np.random.default_rng(20230305))
A_FOLDER = 10  # so many files are named in a note
GOOD = encoded(photo(np.random.default_rng(0)), "png")
BESIDE = BadFile("", "good.png", GOOD, "data", as_decoded(GOOD))


def class_folders(root: Path, size: int) -> tuple[ImageSet, tuple[str, ...]]:
    """The faulty files are one class to train on; the other classes are sound and stand behind it."""
    for place in ("train/zebra", "val/zebra", "val/ant"):
        (root / place).mkdir(parents=True)
        (root / place / "good.png").write_bytes(GOOD)
    (root / "files").rename(root / "train" / "ant")
    data = load_id("folder", root, image_size=size)
    assert data.train.labels.tolist() == [0] * (len(data.train) - 1) + [1] and len(data.test) == 2
    return data.train.subset(range(len(data.train) - 1)), data.notes


def flat_ood(root: Path, size: int) -> tuple[ImageSet, tuple[str, ...]]:
    images = load_ood(f"mine={root / 'files'}", black_id_data(size=size))
    return images, images.notes


def official_ood(root: Path, size: int) -> tuple[ImageSet, tuple[str, ...]]:
    (root / "DTD").mkdir()
    (root / "files").rename(root / "DTD" / "images")
    images = load_ood("Textures", black_id_data(size=size), root)
    assert images.name.startswith("dtd (partial, ")
    return images, images.notes


LOADERS = {
    "class folders": (class_folders, SIZE),
    "OOD folder": (flat_ood, SIZE),
    "OOD folder of the table": (official_ood, SIZE),
    "OOD folder, decoded as it comes": (flat_ood, 96),
}


@pytest.mark.parametrize("loader", LOADERS)
def test_a_thousand_faulty_images(tmp_path, loader):
    outcomes = Outcomes()
    load, size = LOADERS[loader]
    for number, start in enumerate(range(0, len(FAULTS), A_FOLDER)):
        files = [*FAULTS[start : start + A_FOLDER], BESIDE]
        root = tmp_path / str(number)
        (root / "files").mkdir(parents=True)
        for file in files:
            (root / "files" / file.name).write_bytes(file.content)
        judge(files, *load(root, size), size, outcomes)
        shutil.rmtree(root)
    outcomes.check(loader)


def judge(files: list[BadFile], images: ImageSet, notes: tuple[str, ...], size: int, outcomes: Outcomes) -> None:
    """Match what was loaded with the files: all that are not in the note, in the order of their names."""
    note = next((note for note in notes if "images skipped: " in note), "")
    assert "\n" not in note and "\x1b" not in note
    skipped = {file.name for file in files if f"/{shown(file.name)} (" in note}
    if note:
        assert int(re.search(r"(\d+) of \d+ images skipped", note)[1]) == len(skipped)
    pixels = torch.cat(list(images.batches(7, "cpu"))).numpy()
    loaded = sorted((file for file in files if file.name not in skipped), key=lambda file: file.name)
    assert pixels.shape == (len(loaded), 3, size, size) and pixels.dtype == np.uint8
    for file in files:
        assert file.outcome in ("either", "skip" if file.name in skipped else "data"), (file.name, note)
        if file is not BESIDE:
            outcomes.add(file.fault, "skipped and named" if file.name in skipped else "data")
    for file, found in zip(loaded, pixels, strict=True):
        if file.pixels is not None and size == SIZE:
            # Pillow and the formula may round half a level apart.
            assert np.abs(found.astype(int) - file.pixels).max() <= 1, file.name


def message_of(action: Callable[[], object], folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        action()
    assert is_one_clear_message(str(caught.value), folder), str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("number", range(42))
def test_empty_class_folders_and_folders_that_are_files(tmp_path, number):
    name = f"{SCRIPTS[number % len(SCRIPTS)]}{number}"
    root = tmp_path / name
    for place in ("ant", "zebra"):
        (root / place).mkdir(parents=True)
        (root / place / "good.png").write_bytes(GOOD)
        (root / place / "good 2.png").write_bytes(GOOD)
    (root / name).mkdir()
    if number % 3 == 1:
        (root / name / ".hidden.png").write_bytes(GOOD)
    if number % 3 == 2:
        (root / name / "notes.txt").write_text("no image")
    assert "has no images" in message_of(lambda: load_id("folder", root), tmp_path)
    assert "holds no images" in message_of(lambda: load_ood(f"x={root / name}", black_id_data(size=SIZE)), tmp_path)
    shutil.rmtree(root / name)
    (root / name).write_bytes(b"a file in place of a folder")
    data = load_id("folder", root)
    assert len(data.train) == 2 and "not read" in data.notes[-1] and shown(name) in data.notes[-1]
    for action in (
        lambda: load_id("folder", root / name),
        lambda: load_ood(f"x={root / name}", black_id_data(size=SIZE)),
        lambda: load_ood("dtd", black_id_data(size=SIZE), root / name),
    ):
        assert "this is a file" in message_of(action, tmp_path)
    assert "not found" in message_of(lambda: load_id("ImageNet-100", root / name), tmp_path)
    assert "not found" in message_of(lambda: load_id("folder", root / name / "deeper"), tmp_path)
    assert "name too long" in message_of(lambda: load_id("folder", root / ("x" * 300)), tmp_path)


@pytest.mark.parametrize("size", [SIZE, 96])
def test_files_that_may_not_be_read_are_skipped_and_named(size):
    with open_folder() as root:
        for number in range(4):
            folder = root / str(number)
            for place in ("a", "b"):
                (folder / place).mkdir(parents=True)
                for i in range(10):
                    (folder / place / f"{i}.png").write_bytes(GOOD)
            for i in range(8):
                (folder / "a" / f"{i}.png").chmod(0o200)
            with unprivileged():
                images = load_ood(f"x={folder}", black_id_data(size=size))
                data = load_id("folder", folder, image_size=size)
            assert len(images) == len(data.train) + len(data.test) == 12
            for notes in (images.notes, data.notes):
                assert "8 of 20 images skipped" in notes[0]
                assert all(f"/a/{i}.png (permission denied)" in notes[0] for i in range(8))


def test_folders_that_may_not_be_entered_are_named():
    with open_folder() as root:
        for place in ("root/train/a", "root/train/b", "root/val/a", "root/val/b", "root/dtd/images"):
            (root / place).mkdir(parents=True)
            for name in ("good.png", "good 2.png"):
                (root / place / name).write_bytes(GOOD)
        load_id("ImageNet-100", root / "root")  # what is imported late is imported while that is allowed
        refused = 0
        for place in ("root", "root/train", "root/train/b", "root/val", "root/val/a"):
            for mode in (0o000, 0o111, 0o444):
                for action in (
                    lambda: load_id("folder", root / "root"),
                    lambda: load_id("ImageNet-100", root / "root"),
                    lambda: load_ood(f"x={root / 'root'}", black_id_data(size=SIZE)),
                ):
                    refused += _denied(action, root / place, mode)
        for place in ("root", "root/dtd", "root/dtd/images"):
            for mode in (0o000, 0o444):
                refused += _denied(lambda: load_ood("dtd", black_id_data(size=SIZE), root / "root"), root / place, mode)
        print(f"\nfolders that may not be entered: {refused} refused with their names")
        assert refused >= 30


def _denied(action: Callable[[], object], folder: Path, mode: int) -> bool:
    """True: refused, and the folder or something in it is named. A listable folder may give skips; x alone may do."""
    folder.chmod(mode)
    try:
        with unprivileged():
            loaded = action()
    except UserError as error:
        assert is_one_clear_message(str(error), folder) and str(folder) in str(error)
        assert "Permission denied" in str(error) or "permission denied" in str(error), str(error)
        return True
    finally:
        folder.chmod(0o755)
    assert mode == 0o444 and any("permission denied" in note for note in loaded.notes) or isinstance(loaded, IDData)
    return False


def test_names_that_are_no_utf8(tmp_path):
    folder = os.fsencode(tmp_path)
    for name in range(0x80, 0xA0):
        try:
            Path(os.fsdecode(folder + b"/%c.png" % name)).write_bytes(GOOD if name % 2 else b"damaged")
        except OSError:
            pytest.skip("this file system takes UTF-8 names only")
    images = load_ood(f"x={tmp_path}", black_id_data(size=SIZE))
    assert len(images) == 16 and "16 of 32 images skipped" in images.notes[0] and "and 6 more" in images.notes[0]
    images.notes[0].encode("utf-8")
