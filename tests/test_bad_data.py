"""More than 1,000 faulty files for each loader of arrays: CIFAR batches and SVHN's MATLAB files.

Each gives the right data, other data with a note that names the file, or one message that names it.
"""

import pickle
import shutil
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from tests.bad_files import (
    SCRIPTS,
    Fault,
    Outcomes,
    cuts_and_flips,
    is_one_clear_message,
    open_folder,
    restore,
    unprivileged,
    written,
)
from tests.data_files import black_id_data, cifar_batch, write_cifar10, write_cifar100, write_pickle
from utils.data import cifar, svhn
from utils.data.id_sets import load_id
from utils.data.ood_sets import load_ood
from utils.errors import UserError
from utils.prepare.download import file_md5


def attempt(action: Callable[[], bool], path: Path, folder: Path) -> str:
    """Outcome of a load: `action` says whether the data are the right ones, and checks what it says if not."""
    try:
        return "right data" if action() else "other data, file named"
    except UserError as error:
        assert is_one_clear_message(str(error), folder), str(error)
        assert path.name in str(error), str(error)
        return "one message"


# ---------------------------------------------------------------- CIFAR


def batch_faults(batch: dict, key: str, classes: int, rng: np.random.Generator) -> Iterator[Fault]:
    """What pickles well and is no batch of labelled images."""

    def dumped(fault: str, **changed: object) -> Fault:
        return fault, written(pickle.dumps({**batch, **changed}, protocol=int(rng.integers(0, 6))))

    labels, pixels = batch[key], batch["data"]
    count = len(labels)
    for _ in range(8):
        at = int(rng.integers(count))
        for wrong in (classes, -1, int(rng.integers(classes, 2**62)), -int(rng.integers(1, 2**62))):
            yield dumped("wrong label range", **{key: [*labels[:at], wrong, *labels[at + 1 :]]})
        for wrong in ("cat", 1.5, None, [1], [[2]], True, b"\x01", {}):
            yield dumped("labels that are no numbers", **{key: [*labels[:at], wrong, *labels[at + 1 :]]})
        for wrong in (labels[:at], labels * 2, [], None, 7, "labels", np.array(labels)[:, None], np.array(3)):
            yield dumped("another number of labels", **{key: wrong})
        for wrong in (
            pixels[:, : at + 1],
            pixels[:0],
            pixels.astype(np.int64),
            pixels[0],
            pixels.tolist(),
            None,
            pixels.reshape(-1, 3, 32, 32),
            np.asfortranarray(pixels),
        ):
            yield dumped("pixels of another kind", data=wrong)


LAYOUTS = {"CIFAR-10": (write_cifar10, 10, "labels"), "CIFAR-100": (write_cifar100, 100, "fine_labels")}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_thousand_faulty_cifar_files(tmp_path, monkeypatch, name):
    write, classes, key = LAYOUTS[name]
    folder = write(tmp_path, count=5)
    for path in folder.iterdir():  # from protocol 3 on the pixels stand as they are in one piece
        write_pickle(path, pickle.loads(path.read_bytes()), protocol=3)
    rng, outcomes = np.random.default_rng(20230305), Outcomes()
    monkeypatch.setattr(cifar, "cifar_facts", {name: tiny_facts(cifar.cifar_facts(name), folder)}.get)
    right = load_id(name, tmp_path)
    assert not any("checksums" in note for note in right.notes)

    def is_right(path: Path) -> bool:
        data = load_id(name, tmp_path)
        same = (data.train.fingerprint, data.test.fingerprint, data.class_names) == (
            right.train.fingerprint,
            right.test.fingerprint,
            right.class_names,
        )
        assert f"checksums differ from the official files: {path.name}" in data.notes[0]
        return same

    # One file of each kind: the five batches of CIFAR-10 are read alike.
    for path in [path for path in sorted(folder.iterdir()) if path.name[-1] not in "1245"]:
        whole = path.read_bytes()
        meta = pickle.loads(whole)
        faults = list(cuts_and_flips(whole, meta["data"].tobytes() if "data" in meta else b"class ", rng, 30))
        if "data" in meta:
            faults += batch_faults(meta, key, classes, rng)
        for fault, damage in faults:
            damage(path)
            if path.is_dir() or path.read_bytes() != whole:
                outcomes.add(fault, attempt(lambda path=path: is_right(path), path, tmp_path))
            restore(path, whole)
    outcomes.check(name)


def tiny_facts(official: type, folder: Path) -> type:
    """The table of a CIFAR with the checksums of the files in `folder`."""

    def listed(files: list) -> list:
        return [[file_name, file_md5(folder / file_name)] for file_name, _ in files]

    meta = {**official.meta, "md5": file_md5(folder / official.meta["filename"])}
    return type(
        "Tiny",
        (official,),
        {"train_list": listed(official.train_list), "test_list": listed(official.test_list), "meta": meta},
    )


def test_a_flipped_memo_index_takes_no_memory(tmp_path):
    # The unpickler in C would take 32 GiB for this number.
    folder = write_cifar10(tmp_path)
    content = pickle.dumps({**cifar_batch(20, 10), "filenames": [f"{i}.png" for i in range(300)]}, protocol=2)
    at = content.rindex(b"r", 0, content.rindex(b"e"))
    (folder / "test_batch").write_bytes(content[: at + 4] + b"\x80" + content[at + 5 :])
    assert len(load_id("CIFAR-10", tmp_path).test) == 20
    write_pickle(folder / "test_batch", {})
    (folder / "test_batch").write_bytes(b"\x80\x05}\x8c\x01a\x96" + (2**40).to_bytes(8, "little") + b"123s.")
    with pytest.raises(UserError, match="damaged file"):
        load_id("CIFAR-10", tmp_path)


# ---------------------------------------------------------------- SVHN


def mat_faults(content: dict, rng: np.random.Generator) -> Iterator[Fault]:
    def saved(fault: str, **changed: object) -> Fault:
        return fault, lambda path: savemat(path, {**content, **changed}, do_compression=bool(rng.integers(2)))

    images, labels = content["X"], content["y"]
    for _ in range(11):
        at = int(rng.integers(len(labels)))
        for wrong in (11, -1, np.nan, 0.5, 1e300, 256):
            changed = np.where(np.arange(len(labels)) == at, wrong, labels.ravel().astype(int))
            yield saved("wrong label range", y=changed)
        for wrong in (labels[:at], "labels", {"a": 1}, np.array([["a"], {"b": 1}], dtype=object), np.zeros((0, 1))):
            yield saved("labels that are no numbers", y=wrong)
        for wrong in (images[: at + 1], images[..., :0], images.astype(float), images[..., 0], "X", {"a": 1}):
            yield saved("pixels of another kind", X=wrong)


@pytest.mark.parametrize("kind", ["published", "plain", "selection"])
def test_a_thousand_faulty_svhn_files(tmp_path, monkeypatch, kind):
    rng, outcomes = np.random.default_rng(20230305), Outcomes()
    folder = tmp_path / "svhn"
    folder.mkdir()
    content = {
        "X": rng.integers(0, 256, (32, 32, 3, 10), dtype=np.uint8),
        "y": (np.arange(10)[:, None] + 1).astype(np.uint8),
    }
    path = folder / svhn.FULL_FILE
    savemat(path, content, do_compression=kind == "published")
    monkeypatch.setattr(svhn, "PUBLISHED_MD5", file_md5(path))
    if kind == "selection":
        path = path.rename(folder / svhn.SELECTED_FILE)
    right = load_ood("SVHN", black_id_data(), tmp_path)
    assert len(right.notes) == (kind == "selection")
    whole = path.read_bytes()

    def is_right() -> bool:
        images = load_ood("SVHN", black_id_data(), tmp_path)
        same = images.fingerprint == right.fingerprint
        named = ("no checksum", "not the published one")
        assert same or any(text in note and path.name in note for note in images.notes for text in named)
        return same

    pixels = content["X"].T.tobytes() if kind != "published" else whole[200:-200]
    for fault, damage in [*cuts_and_flips(whole, pixels, rng, 80), *mat_faults(content, rng)]:
        restore(path, whole)
        damage(path)
        outcomes.add(fault, attempt(is_right, path, tmp_path))
        if path.is_dir():
            path.rmdir()
    outcomes.check(f"SVHN, {kind}")


# ---------------------------------------------------------------- places


@pytest.mark.parametrize("name", [*LAYOUTS, "SVHN"])
def test_places_that_may_not_be_read(name):
    outcomes = Outcomes()
    with open_folder() as root:
        if name == "SVHN":
            places = [root / "svhn", root / "svhn" / svhn.FULL_FILE]
            places[0].mkdir()
            savemat(places[1], {"X": np.zeros((32, 32, 3, 10), np.uint8), "y": np.arange(1, 11)})
        else:
            folder = LAYOUTS[name][0](root)
            places = [folder, *folder.iterdir()]

        def load() -> object:
            return load_ood(name, black_id_data(), root) if name == "SVHN" else load_id(name, root)

        load()  # what is imported late is imported while that is allowed
        for place, owner, others in product([root, *places], (0, 4, 6, 7), (0, 1, 2, 3)):
            place.chmod(owner << 6 | others)
            try:
                with unprivileged():
                    load()
                assert place.is_dir() and others in (1, 3)  # a folder that may be entered, though not listed
                outcomes.add("no permission", "right data")
            except UserError as error:
                assert "ermission denied" in str(error) and str(place) in str(error), str(error)
                outcomes.add("no permission", "one message")
            finally:
                place.chmod(0o755)
    outcomes.check(name, least=30)


@pytest.mark.parametrize("script", SCRIPTS)
def test_places_in_any_script_and_files_in_place_of_folders(tmp_path, script):
    root = tmp_path / script
    folder = write_cifar10(root, count=2)
    assert len(load_id("CIFAR-10", root).train) == 10
    (folder / "test_batch").write_bytes(b"damaged")
    shutil.copy(folder / "test_batch", root / "file")
    for place in (root, root / "file", root / "nowhere"):
        with pytest.raises(UserError) as caught:
            load_id("CIFAR-10", place)
        assert is_one_clear_message(str(caught.value), tmp_path)
    for place, fault in ((root / "file", "this is a file"), (root / "nowhere", "SVHN not found")):
        with pytest.raises(UserError, match=fault) as caught:
            load_ood("SVHN", black_id_data(), place)
        assert is_one_clear_message(str(caught.value), tmp_path)
