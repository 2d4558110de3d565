"""prepare_data.py: archives that are sound, damaged or hostile, the official layout, --list, --check and the README."""

import hashlib
import importlib.util
import io
import shutil
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat

from tests.data_files import write_cifar10
from tests.faulty_server import FaultyServer
from utils.data import archives, cifar, ood_sets
from utils.data.archives import ArchiveError, temporary_folder, unpack
from utils.data.datasets_readme import readme_text
from utils.data.download import Patience
from utils.data.id_sets import load_id
from utils.data.inventory import check, look, read_records
from utils.data.ood_sets import load_ood
from utils.data.ood_table import OOD_SETS, OODSet, find_ood_set
from utils.data.prepare import draw, prepare
from utils.data.sources import BY_HAND, Source, places_of, source_of
from utils.errors import UserError
from utils.files import REPOSITORY

PATIENCE = Patience(attempts=2, timeout=5, wait=lambda _: None)
LSUN = OODSet("LSUN", "files", "", "", 3, ("LSUN/test", "LSUN"), default_for=("CIFAR-10",))


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    running = FaultyServer()
    yield running
    running.close()


@pytest.fixture
def script(monkeypatch):
    """The script as a module; `script(arguments)` runs its main."""
    spec = importlib.util.spec_from_file_location("prepare_data", REPOSITORY / "scripts" / "prepare_data.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec.loader.exec_module(module)

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["prepare_data.py", *map(str, arguments)])
        return module.main()

    run.module = module
    return run


def png(seed: int) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def tar_of(files: dict[str, bytes], *odd: tarfile.TarInfo, compression: str = "gz") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=f"w:{compression}") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in odd:
            tar.addfile(member, io.BytesIO(b"\0" * member.size))
    return stream.getvalue()


def odd(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def lsun_files(count: int = 3) -> dict[str, bytes]:
    return {f"LSUN/test/{number}.png": png(number) for number in range(count)}


def everything_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def serve_archive(server: FaultyServer, content: bytes, name: str = "LSUN.tar.gz", *, md5: bool = True) -> Source:
    server.content[f"/{name}"] = content
    return Source(server.address(f"/{name}"), name, hashlib.md5(content).hexdigest() if md5 else None)


# Archives

HOSTILE = {
    "symbolic link": [odd("LSUN/link", tarfile.SYMTYPE, "/etc/passwd")],
    "hard link": [odd("LSUN/link", tarfile.LNKTYPE, "../../outside")],
    "file through a link": [odd("LSUN/way", tarfile.SYMTYPE, "../.."), odd("LSUN/way/outside")],
    "parent folder": [odd("LSUN/../../outside")],
    "parent folder, other slashes": [odd("LSUN\\..\\..\\outside")],
    "absolute name": [odd("/tmp/outside-of-the-archive")],
    "drive": [odd("C:\\outside")],
    "pipe": [odd("LSUN/pipe", tarfile.FIFOTYPE)],
    "device": [odd("LSUN/device", tarfile.CHRTYPE)],
}


@pytest.mark.parametrize("members", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_archive_leaves_nothing(server, tmp_path, members):
    root = tmp_path / "inner" / "datasets"
    source = serve_archive(server, tar_of(lsun_files(), *members), md5=False)
    with pytest.raises(UserError, match="refused, nothing was unpacked"):
        prepare(LSUN, source, root, patience=PATIENCE)
    assert everything_in(tmp_path) == [
        "inner",
        "inner/datasets",
        "inner/datasets/downloads",
        "inner/datasets/downloads/LSUN.tar.gz",
    ]


def test_the_filter_of_tarfile_stands_behind_the_checks(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_fault", lambda member: None)
    (tmp_path / "a.tar").write_bytes(tar_of({"../outside": b"x"}, compression=""))
    with temporary_folder(tmp_path) as folder, pytest.raises(ArchiveError):
        unpack(tmp_path / "a.tar", folder, lambda name: True)
    assert everything_in(tmp_path) == ["a.tar"]


def test_an_archive_larger_than_the_disk_is_refused(tmp_path, monkeypatch):
    (tmp_path / "a.tar").write_bytes(tar_of({"a": b"x" * 5_000}))
    usage = shutil.disk_usage(tmp_path)._replace(free=4_000)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: usage)
    with temporary_folder(tmp_path) as folder:
        with pytest.raises(ArchiveError, match="needs 0.0 MB"):
            unpack(tmp_path / "a.tar", folder, lambda name: True)
        assert everything_in(folder) == []


SOUND = tar_of(lsun_files())
PLAIN = tar_of(lsun_files(), compression="")
DAMAGED = {
    "empty": b"",
    "no archive": b"<html>not found</html>" * 100,
    "gzip cut short": SOUND[: len(SOUND) // 2],
    "gzip with a flipped byte": SOUND[:-300] + bytes([SOUND[-300] ^ 255]) + SOUND[-299:],
    "tar cut within an image": PLAIN[:700],
    "tar cut between images": PLAIN[:1024],
    "another archive": tar_of({"iSUN/a.png": png(0)}),
    "another selection": tar_of(lsun_files(4)),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_or_other_archive_does_not_get_the_official_place(server, tmp_path, content):
    source = serve_archive(server, content, md5=False)
    with pytest.raises(UserError, match="LSUN: .*(?s:.*)delete the file"):
        prepare(LSUN, source, tmp_path, patience=PATIENCE)
    assert everything_in(tmp_path) == ["downloads", "downloads/LSUN.tar.gz"]
    assert look(LSUN, tmp_path).state == "missing"


# Sets


def test_a_set_is_downloaded_unpacked_and_recorded(server, tmp_path):
    source = serve_archive(server, tar_of({**lsun_files(), "LSUN/test/._0.png": b"", "other/readme": b""}))
    assert prepare(LSUN, source, tmp_path, patience=PATIENCE).startswith("3 images in ")
    place = tmp_path / "small_OOD_dataset" / "LSUN" / "test"
    assert (place / "2.png").read_bytes() == png(2)
    assert not list(tmp_path.glob(".*")) and not (tmp_path / "other").exists()
    assert read_records(tmp_path)["LSUN"].file_sha256 == hashlib.sha256(server.content["/LSUN.tar.gz"]).hexdigest()
    assert check(LSUN, source, tmp_path)[1] == []

    asked = len(server.requests)
    assert "there already" in prepare(LSUN, source, tmp_path, patience=PATIENCE)
    assert len(server.requests) == asked

    (place / "2.png").write_bytes(png(7))
    assert "changed" in check(LSUN, source, tmp_path)[1][0]
    (place / "2.png").unlink()
    assert "2 images in place of 3" in check(LSUN, source, tmp_path)[1][0]


def test_what_stands_in_the_place_is_not_touched(server, tmp_path):
    source = serve_archive(server, SOUND)
    own = tmp_path / "small_OOD_dataset" / "LSUN" / "test" / "mine.png"
    own.parent.mkdir(parents=True)
    own.write_bytes(png(9))
    with pytest.raises(UserError, match="1 images in place of 3(?s:.*)move it away"):
        prepare(LSUN, source, tmp_path, patience=PATIENCE)
    assert own.read_bytes() == png(9)
    assert server.requests == []


def test_a_dead_source_is_named_and_the_file_can_be_put_there_by_hand(server, tmp_path):
    source = serve_archive(server, SOUND)
    del server.content["/LSUN.tar.gz"]
    with pytest.raises(UserError) as raised:
        prepare(LSUN, source, tmp_path, patience=PATIENCE)
    by_hand = tmp_path / "downloads" / "LSUN.tar.gz"
    for part in (source.address, "404", source.md5, str(by_hand)):
        assert part in str(raised.value)

    by_hand.write_bytes(SOUND[:-1])
    with pytest.raises(UserError, match="not the published one"):
        prepare(LSUN, source, tmp_path, patience=PATIENCE)
    by_hand.write_bytes(SOUND)
    prepare(LSUN, source, tmp_path, patience=PATIENCE)
    assert look(LSUN, tmp_path).state == "found"


def test_a_set_of_two_benchmarks_is_linked(server, tmp_path):
    row = OODSet("dtd", "files", "", "", 2, ("dtd/images",), default_for=("CIFAR-10", "ImageNet-100"))
    files = {"dtd/images/banded/a.jpg": png(0), "dtd/images/dotted/b.jpg": png(1), "dtd/labels/x.txt": b""}
    source = serve_archive(server, tar_of(files))
    prepare(row, source, tmp_path, patience=PATIENCE)
    second = tmp_path / "ImageNet_OOD_dataset" / "dtd" / "images"
    assert (second / "dotted" / "b.jpg").read_bytes() == png(1)
    (second if second.is_symlink() else second / "none").unlink()
    prepare(row, source, tmp_path, patience=PATIENCE)
    assert second.is_dir()


PLACES = OODSet(
    "places365", "files", "", "", 4, ("places365/test_subset", "places365"), default_for=("CIFAR-10",), drawn=True
)


def places_archive(count: int = 20) -> bytes:
    return tar_of({f"test_256/Places365_test_{number:08}.jpg": png(number) for number in range(count)}, compression="")


def test_images_of_places365_are_drawn_by_a_listed_rule(server, tmp_path):
    source = serve_archive(server, places_archive(), "test_256.tar", md5=False)
    prepare(PLACES, source, tmp_path, patience=PATIENCE)
    place = tmp_path / "small_OOD_dataset" / "places365" / "test_subset"
    listed = (place.parent / "test_subset.txt").read_text().splitlines()[1:]
    names = [f"test_256/Places365_test_{number:08}.jpg" for number in range(20)]
    expected = sorted(names, key=lambda name: hashlib.sha256(f"0:{name}".encode()).hexdigest())[:4]
    assert listed == sorted(expected) == draw(names[::-1], 4)
    assert sorted(path.name for path in place.iterdir()) == [Path(name).name for name in sorted(expected)]


def test_a_list_that_is_there_is_used(server, tmp_path):
    source = serve_archive(server, places_archive(), "test_256.tar", md5=False)
    path = tmp_path / "small_OOD_dataset" / "places365" / "test_subset.txt"
    path.parent.mkdir(parents=True)
    path.write_text("test_256/none.jpg\n")
    with pytest.raises(UserError, match="test_256/none.jpg is not in the archive"):
        prepare(PLACES, source, tmp_path, patience=PATIENCE)
    names = [f"Places365_test_{number:08}.jpg" for number in (3, 1, 4, 15)]
    path.write_text("".join(f"test_256/{name}\n" for name in names))
    prepare(PLACES, source, tmp_path, patience=PATIENCE)
    assert everything_in(path.parent / "test_subset") == sorted(names)


def test_a_set_drawn_here_says_so_by_its_name_and_one_from_elsewhere_does_not(server, tmp_path, monkeypatch):
    monkeypatch.setattr(ood_sets, "find_ood_set", lambda name: PLACES)
    source = serve_archive(server, places_archive(), "test_256.tar", md5=False)
    prepare(PLACES, source, tmp_path, patience=PATIENCE)
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
    source = serve_archive(server, places_archive(3), "test_256.tar", md5=False)
    with pytest.raises(UserError, match="too few to draw 4"):
        prepare(PLACES, source, tmp_path, patience=PATIENCE)
    assert everything_in(tmp_path) == ["downloads", "downloads/test_256.tar"]


def svhn_file(path: Path, count: int) -> bytes:
    images = np.random.default_rng(0).integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
    savemat(path, {"X": images, "y": (np.arange(count) % 10 + 1).astype(np.uint8)[:, None]})
    return path.read_bytes()


def test_svhn_is_downloaded_and_selected(server, tmp_path):
    row = OODSet("SVHN", "svhn", "", "", 30, ("svhn",), default_for=("CIFAR-10",))
    content = svhn_file(tmp_path / "made.mat", 30)
    source = serve_archive(server, content, "test_32x32.mat")
    prepare(row, source, tmp_path / "data", patience=PATIENCE)
    folder = tmp_path / "data" / "small_OOD_dataset" / "svhn"
    assert everything_in(folder) == ["selected_test_32x32.mat", "test_32x32.mat"]
    assert loadmat(folder / "selected_test_32x32.mat")["X"].shape == (32, 32, 3, 30)
    assert check(row, source, tmp_path / "data")[1] == []
    (folder / "selected_test_32x32.mat").write_bytes(content[:2_000])
    (tmp_path / "data" / "prepared.json").unlink()
    assert "damaged file" in check(row, source, tmp_path / "data")[1][0]
    (folder / "selected_test_32x32.mat").write_bytes(content[:100])
    assert look(row, tmp_path / "data").state == "other"
    (folder / "test_32x32.mat").write_bytes(content[:100])
    assert "not the published file" in check(row, source, tmp_path / "data")[1][-1]


def test_an_svhn_selection_of_another_size_does_not_stay(server, tmp_path):
    row = OODSet("SVHN", "svhn", "", "", 30, ("svhn",), default_for=("CIFAR-10",))
    source = serve_archive(server, svhn_file(tmp_path / "made.mat", 20), "test_32x32.mat")
    with pytest.raises(UserError, match="20 images in place of 30"):
        prepare(row, source, tmp_path / "data", patience=PATIENCE)
    assert look(row, tmp_path / "data").state == "missing"


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
    source = serve_archive(server, tar_of(small_cifar), "cifar-10-python.tar.gz")
    assert prepare(row, source, root, patience=PATIENCE).startswith("7 of 7 files in ")
    assert len(load_id("CIFAR-10", root / "CIFAR10").train) == 100
    assert check(row, source, root)[1] == []
    batch = root / "CIFAR10" / "cifar-10-batches-py" / "data_batch_2"
    batch.write_bytes(small_cifar["cifar-10-batches-py/data_batch_3"])
    faults = check(row, source, root)[1]
    assert faults == [
        "checksums differ from the official files: data_batch_2",
        "they hold 100 training and 20 test images",
    ]
    batch.unlink()
    assert check(row, source, root)[1][0] == "missing: data_batch_2"


def test_a_cifar_archive_with_other_files_is_refused(server, small_cifar, tmp_path):
    small_cifar["cifar-10-batches-py/test_batch"] += b"x"
    source = serve_archive(server, tar_of(small_cifar), "cifar-10-python.tar.gz")
    with pytest.raises(UserError, match="differ from the official files: test_batch"):
        prepare(find_ood_set("CIFAR-10"), source, tmp_path / "data", patience=PATIENCE)
    assert everything_in(tmp_path / "data") == ["downloads", "downloads/cifar-10-python.tar.gz"]


# The table


def test_every_set_has_a_source_a_place_and_a_licence():
    for row in OOD_SETS:
        assert row.licence
        if row.kind != "generated":
            source = source_of(row)
            # The libraries ask Dropbox for the file, the table names the page of the same file.
            assert source.address.removesuffix("?dl=1").replace("/s/raw/", "/s/") == row.source
            assert source.file_name
            assert (source.md5 is not None) == bool(row.maintained)
            assert places_of(row, Path("datasets"))


def test_the_readme_is_the_one_of_the_table(script, tmp_path):
    text = (REPOSITORY / "datasets" / "README.md").read_text(encoding="utf-8")
    assert text == readme_text(), "run: python scripts/prepare_data.py --readme"
    assert script("--readme", "--root", tmp_path) == 0
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == text
    for row in OOD_SETS:
        assert row.kind == "generated" or (row.name in text and row.source.rpartition("/")[2] in text)


# The script


def test_list_shows_every_set(script, tmp_path, capsys):
    assert script("--list", "--root", tmp_path / "none") == 0
    text = capsys.readouterr().out
    assert not (tmp_path / "none").exists()
    for row in OOD_SETS:
        assert row.name in text
    for item in BY_HAND:
        assert item.name in text and item.how in text
    assert "missing" in text and source_of(find_ood_set("SVHN")).md5 in text


def test_check_is_right_about_nothing_and_wrong_about_a_partial_set(script, tmp_path, capsys):
    assert script("--check", "--root", tmp_path) == 0
    assert "LSUN                 missing" in capsys.readouterr().out
    place = tmp_path / "small_OOD_dataset" / "lsun" / "test"
    place.mkdir(parents=True)
    (place / "a.png").write_bytes(png(0))
    assert script("--check", "--only", "lsun", "--root", tmp_path) == 1
    assert "1 images in place of 10,000" in capsys.readouterr().out


def test_one_set_that_fails_does_not_stop_the_others(script, server, tmp_path, capsys, monkeypatch):
    sources = {"LSUN": Source(server.address("/gone"), "LSUN.tar.gz"), "SVHN": None}
    row = OODSet("SVHN", "svhn", "", "", 30, ("svhn",), default_for=("CIFAR-10",))
    sources["SVHN"] = serve_archive(server, svhn_file(tmp_path / "made.mat", 30), "test_32x32.mat")
    monkeypatch.setattr(script.module, "OOD_SETS", (LSUN, row))
    monkeypatch.setattr(script.module, "find_ood_set", {"LSUN": LSUN, "SVHN": row}.get)
    monkeypatch.setattr(script.module, "source_of", lambda row: sources[row.name])
    assert script("--only", "LSUN,SVHN", "--root", tmp_path / "data") == 1
    printed = capsys.readouterr()
    assert "LSUN could not be downloaded" in printed.err and "not prepared: LSUN\n" in printed.err
    assert "404" in printed.err and server.address("/gone") in printed.err
    assert "30 images in" in printed.out
    assert look(row, tmp_path / "data").state == "found"


@pytest.mark.parametrize(
    "name, said",
    [
        ("ImageNet-100", "by hand(?s:.*)image-net.org"),
        ("SVHM", "unknown set"),
        ("checkpoint-CIFAR-10", "drive.google"),
        ("uniform-noise", "needs nothing"),
    ],
)
def test_names_that_cannot_be_fetched(script, tmp_path, name, said):
    with pytest.raises(UserError, match=said):
        script("--only", "SVHN", name, "--root", tmp_path)
    assert everything_in(tmp_path) == []


@pytest.mark.parametrize("arguments", [[], ["--list", "--check"], ["--only"], ["--nonsense"]])
def test_a_wrong_command_line_ends_with_the_usage(script, arguments):
    with pytest.raises(SystemExit) as ended:
        script(*arguments)
    assert ended.value.code == 2
