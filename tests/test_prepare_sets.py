"""One set from its source to its place: downloaded, unpacked, drawn or selected, verified, recorded, linked."""

import gzip
import hashlib
import struct
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.archive_files import LSUN, everything_in, lsun_files, png, served, svhn_file, tar_of, zip_of
from tests.data_files import write_cifar10
from utils.data import cifar, mnist, ood_sets
from utils.data.id_sets import load_id
from utils.data.ood_sets import load_ood
from utils.data.ood_table import OODSet, find_ood_set
from utils.errors import UserError
from utils.prepare.inventory import check, look, read_records
from utils.prepare.prepare import draw, prepare

SOUND = tar_of(lsun_files())


def test_a_set_is_downloaded_unpacked_and_recorded(server, tmp_path):
    row = served(LSUN, server, tar_of({**lsun_files(), "LSUN/test/._0.png": b"", "other/readme": b""}))
    assert prepare(row, tmp_path).startswith("3 images in ")
    place = tmp_path / "small_OOD_dataset" / "LSUN" / "test"
    assert (place / "2.png").read_bytes() == png(2)
    assert not list(tmp_path.glob(".*")) and not (tmp_path / "other").exists()
    assert read_records(tmp_path)["LSUN"]["file_sha256"] == hashlib.sha256(server.content["/LSUN.tar.gz"]).hexdigest()
    assert check(row, tmp_path)[1] == []

    asked = len(server.requests)
    assert "there already" in prepare(row, tmp_path)
    assert len(server.requests) == asked

    (place / "2.png").write_bytes(png(7))
    assert "changed" in check(row, tmp_path)[1][0]
    (place / "2.png").unlink()
    assert "2 images in place of 3" in check(row, tmp_path)[1][0]


def test_what_stands_in_the_place_is_not_touched(server, tmp_path):
    row = served(LSUN, server, SOUND)
    own = tmp_path / "small_OOD_dataset" / "LSUN" / "test" / "mine.png"
    own.parent.mkdir(parents=True)
    own.write_bytes(png(9))
    with pytest.raises(UserError, match="1 images in place of 3(?s:.*)move it away"):
        prepare(row, tmp_path)
    assert own.read_bytes() == png(9)
    assert server.requests == []


def test_a_dead_source_is_named_and_the_file_can_be_put_there_by_hand(server, tmp_path):
    row = served(LSUN, server, SOUND)
    del server.content["/LSUN.tar.gz"]
    with pytest.raises(UserError) as raised:
        prepare(row, tmp_path)
    by_hand = tmp_path / "downloads" / "LSUN.tar.gz"
    for part in (row.source, "404", row.md5, str(by_hand)):
        assert part in str(raised.value)

    by_hand.write_bytes(SOUND[:-1])
    with pytest.raises(UserError, match="not the published one"):
        prepare(row, tmp_path)
    by_hand.write_bytes(SOUND)
    prepare(row, tmp_path)
    assert look(LSUN, tmp_path).state == "found"


def test_a_set_of_two_benchmarks_is_linked(server, tmp_path):
    row = OODSet("dtd", "files", "", "", 2, ("dtd/images",))
    files = {"dtd/images/banded/a.jpg": png(0), "dtd/images/dotted/b.jpg": png(1), "dtd/labels/x.txt": b""}
    row = served(row, server, tar_of(files))
    prepare(row, tmp_path)
    second = tmp_path / "ImageNet_OOD_dataset" / "dtd" / "images"
    assert (second / "dotted" / "b.jpg").read_bytes() == png(1)
    (second if second.is_symlink() else second / "none").unlink()
    prepare(row, tmp_path)
    assert second.is_dir()


def test_of_tiny_imagenet_only_the_validation_images_are_unpacked(server, tmp_path):
    row = OODSet("TIN", "files", "", "", 3, find_ood_set("TIN").folders)
    files = {f"tiny-imagenet-200/val/images/val_{number}.JPEG": png(number) for number in range(3)}
    others = {"tiny-imagenet-200/train/n01443537/images/n01443537_0.JPEG": png(4), "tiny-imagenet-200/wnids.txt": b"x"}
    row = served(row, server, zip_of({**others, **files}), "tiny-imagenet-200.zip")
    assert prepare(row, tmp_path).startswith("3 images in ")
    root = tmp_path / "small_OOD_dataset"
    assert [name for name in everything_in(root) if "." in name] == sorted(files)
    assert check(row, tmp_path) == (look(row, tmp_path), [])
    assert len(load_ood("TIN", load_id("digits"), root)) == 3


def test_mnist_is_fetched_in_its_parts(server, tmp_path):
    row = OODSet("MNIST", "mnist", "", "", 3, find_ood_set("MNIST").folders)
    contents = [gzip.compress(struct.pack(">4I", 2051, count, 28, 28) + bytes(count * 784)) for count in (2, 1)]
    parts = [served(row, server, content, name) for content, name in zip(contents, mnist.FILES, strict=True)]
    parts = tuple((name, part.md5) for name, part in zip(mnist.FILES, parts, strict=True))
    row = replace(row, source=server.address("/"), parts=parts)
    assert prepare(row, tmp_path).startswith("3 images in ")
    place = tmp_path / "small_OOD_dataset/MNIST/raw"
    assert everything_in(place) == sorted(mnist.FILES)
    assert "there already" in prepare(row, tmp_path) and check(row, tmp_path)[1] == []
    (place / mnist.FILES[1]).write_bytes(gzip.compress(contents[1]))
    assert check(row, tmp_path)[1]
    (place / mnist.FILES[1]).unlink()
    assert look(row, tmp_path).what == "2 images in place of 3"
    prepare(row, tmp_path)
    assert look(row, tmp_path).state == "found"


PLACES = OODSet("places365", "files", "", "", 4, ("places365/test_subset", "places365"), drawn=True)


def places_archive(count: int = 20) -> bytes:
    return tar_of({f"test_256/Places365_test_{number:08}.jpg": png(number) for number in range(count)}, compression="")


def test_images_of_places365_are_drawn_by_a_listed_rule(server, tmp_path):
    row = served(PLACES, server, places_archive(), "test_256.tar", md5=False)
    prepare(row, tmp_path)
    place = tmp_path / "small_OOD_dataset" / "places365" / "test_subset"
    listed = (place.parent / "test_subset.txt").read_text().splitlines()[1:]
    names = [f"test_256/Places365_test_{number:08}.jpg" for number in range(20)]
    expected = sorted(names, key=lambda name: hashlib.sha256(f"0:{name}".encode()).hexdigest())[:4]
    assert listed == sorted(expected) == draw(names[::-1], 4)
    assert sorted(path.name for path in place.iterdir()) == [Path(name).name for name in sorted(expected)]


def test_a_list_that_is_there_is_used(server, tmp_path):
    row = served(PLACES, server, places_archive(), "test_256.tar", md5=False)
    path = tmp_path / "small_OOD_dataset" / "places365" / "test_subset.txt"
    path.parent.mkdir(parents=True)
    path.write_text("test_256/none.jpg\n")
    with pytest.raises(UserError, match="test_256/none.jpg is not in the archive"):
        prepare(row, tmp_path)
    names = [f"Places365_test_{number:08}.jpg" for number in (3, 1, 4, 15)]
    path.write_text("".join(f"test_256/{name}\n" for name in names))
    prepare(row, tmp_path)
    assert everything_in(path.parent / "test_subset") == sorted(names)


def test_a_set_drawn_here_says_so_by_its_name_and_one_from_elsewhere_does_not(server, tmp_path, monkeypatch):
    monkeypatch.setattr(ood_sets, "find_ood_set", lambda name: PLACES)
    row = served(PLACES, server, places_archive(), "test_256.tar", md5=False)
    prepare(row, tmp_path)
    root, id_data = tmp_path / "small_OOD_dataset", load_id("digits")
    listed = root / "places365" / "test_subset.txt"
    loaded = load_ood("places365", id_data, root)
    assert loaded.name == "places365 (own draw of 4)" and not loaded.official_complete
    assert any("test_subset.txt" in note for note in loaded.notes)
    listed.write_text("".join(listed.read_text().splitlines(keepends=True)[1:]))  # a list of somebody's own
    loaded = load_ood("places365", id_data, root)
    assert loaded.name == "places365" and loaded.official_complete
    listed.unlink()
    loaded = load_ood("places365", id_data, root)
    assert loaded.name == "places365" and any("of unknown draw" in note for note in loaded.notes)


def test_too_few_images_to_draw_from(server, tmp_path):
    row = served(PLACES, server, places_archive(3), "test_256.tar", md5=False)
    with pytest.raises(UserError, match="too few to draw 4"):
        prepare(row, tmp_path)
    assert everything_in(tmp_path) == ["downloads", "downloads/test_256.tar"]


def test_svhn_is_downloaded_and_stays_as_it_is(server, tmp_path):
    row = OODSet("SVHN", "svhn", "", "", 30, ("svhn",))
    content = svhn_file(tmp_path / "made.mat", 30)
    row = served(row, server, content, "test_32x32.mat")
    folder = tmp_path / "small_OOD_dataset" / "svhn"
    folder.mkdir(parents=True)
    (folder / "selected_test_32x32.mat").write_bytes(content)  # OpenOOD scores more than that
    assert prepare(row, tmp_path).startswith("30 images")
    assert "there already: 30 images" in prepare(row, tmp_path)
    assert everything_in(folder) == ["selected_test_32x32.mat", "test_32x32.mat"]
    assert check(row, tmp_path)[1] == []
    (folder / "test_32x32.mat").write_bytes(content[:2_000])
    assert look(row, tmp_path).state == "other"
    found, faults = check(row, tmp_path)
    assert "damaged file" in faults[0] and "not the published file" in faults[-1]
    with pytest.raises(UserError, match="not the published one"):
        prepare(row, tmp_path)


@pytest.fixture
def small_cifar(tmp_path, monkeypatch):
    """A small CIFAR-10 that torchvision's class vouches for, as the bytes of its archive."""
    folder = write_cifar10(tmp_path / "made")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    sums = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    facts = SimpleNamespace(
        base_folder="cifar-10-batches-py",
        train_list=[[f"data_batch_{n}", sums[f"data_batch_{n}"]] for n in range(1, 6)],
        test_list=[["test_batch", sums["test_batch"]]],
        meta={"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]},
    )
    monkeypatch.setattr(cifar, "cifar_facts", lambda name: facts)
    return {f"cifar-10-batches-py/{name}": content for name, content in files.items()}


def test_cifar_is_unpacked_and_its_files_are_verified(server, small_cifar, tmp_path):
    row, root = find_ood_set("CIFAR-10"), tmp_path / "data"
    row = served(row, server, tar_of(small_cifar), "cifar-10-python.tar.gz")
    assert prepare(row, root).startswith("7 of 7 files in ")
    assert len(load_id("CIFAR-10", root / "CIFAR10").train) == 100
    assert check(row, root)[1] == []
    batch = root / "CIFAR10" / "cifar-10-batches-py" / "data_batch_2"
    batch.write_bytes(small_cifar["cifar-10-batches-py/data_batch_3"])
    faults = check(row, root)[1]
    assert faults == ["checksums differ from the official files: data_batch_2"]
    batch.unlink()
    assert check(row, root)[1][0] == "missing: data_batch_2"


def test_a_cifar_archive_with_other_files_is_refused(server, small_cifar, tmp_path):
    small_cifar["cifar-10-batches-py/test_batch"] += b"x"
    row = served(find_ood_set("CIFAR-10"), server, tar_of(small_cifar), "cifar-10-python.tar.gz")
    with pytest.raises(UserError, match="differ from the official files: test_batch"):
        prepare(row, tmp_path / "data")
    assert everything_in(tmp_path / "data") == ["downloads", "downloads/cifar-10-python.tar.gz"]
