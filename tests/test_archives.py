"""Archives that are hostile or damaged never leave a file outside their place, nor take a set's place."""

import shutil
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.archive_files import LSUN, everything_in, lsun_files, png, served, tar_of, zip_of
from utils.errors import UserError
from utils.prepare import archives
from utils.prepare.archives import ArchiveError, unpack
from utils.prepare.inventory import look
from utils.prepare.prepare import prepare


def odd(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


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


PREPARED = ["prepared.json", "small_OOD_dataset", "small_OOD_dataset/LSUN"] + [
    f"small_OOD_dataset/LSUN/test{name}" for name in ("", "/0.png", "/1.png", "/2.png")
]


@pytest.mark.parametrize(
    "name", ["LSUN/../../outside", "LSUN\\..\\..\\outside", "/tmp/outside-of-the-archive", "C:\\outside"]
)
def test_of_a_hostile_zip_nothing_but_the_images_gets_out(server, tmp_path, name):
    root = tmp_path / "inner" / "datasets"
    row = served(LSUN, server, zip_of({**lsun_files(), name: b"x"}), "LSUN.zip", md5=False)
    prepare(row, root)
    assert everything_in(root) == ["downloads", "downloads/LSUN.zip", *PREPARED]
    assert everything_in(tmp_path) == ["inner", "inner/datasets", *(f"inner/datasets/{n}" for n in everything_in(root))]
    assert not Path("/tmp/outside-of-the-archive").exists()


def test_a_flipped_bit_in_a_zip_is_found(server, tmp_path):
    content = bytearray(zip_of(lsun_files()))
    content[content.index(b"IDAT") + 20] ^= 1
    row = served(LSUN, server, bytes(content), "LSUN.zip", md5=False)
    with pytest.raises(UserError, match="damaged"):
        prepare(row, tmp_path)
    assert not (tmp_path / "small_OOD_dataset").exists()


@pytest.mark.parametrize("kind", HOSTILE)
def test_of_a_hostile_archive_nothing_but_the_images_gets_out(server, tmp_path, kind):
    root = tmp_path / "inner" / "datasets"
    row = served(LSUN, server, tar_of(lsun_files(), *HOSTILE[kind]), md5=False)
    if kind == "parent folder":  # which begins like a name of the set
        with pytest.raises(UserError, match="outside the destination"):
            prepare(row, root)
    else:
        prepare(row, root)
    prepared = [] if kind == "parent folder" else PREPARED
    assert everything_in(root) == ["downloads", "downloads/LSUN.tar.gz", *prepared]
    assert everything_in(tmp_path) == ["inner", "inner/datasets", *(f"inner/datasets/{n}" for n in everything_in(root))]
    assert not Path("/tmp/outside-of-the-archive").exists()


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_archive_whose_names_are_all_wanted_stays_in_its_folder(tmp_path, kind):
    (tmp_path / "a.tar").write_bytes(tar_of({}, *HOSTILE[kind], compression=""))
    with TemporaryDirectory(dir=tmp_path) as name:
        folder = Path(name)
        try:
            unpack(tmp_path / "a.tar", folder, lambda name: True)
        except ArchiveError as error:
            assert "outside" in str(error)
        assert all(path.resolve().is_relative_to(folder) and not path.is_symlink() for path in folder.rglob("*"))
    assert everything_in(tmp_path) == ["a.tar"] and not Path("/tmp/outside-of-the-archive").exists()


def test_an_archive_larger_than_the_disk_is_refused(tmp_path, monkeypatch):
    (tmp_path / "a.tar").write_bytes(tar_of({"a": b"x" * 5_000}))
    usage = shutil.disk_usage(tmp_path)._replace(free=4_000)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: usage)
    with TemporaryDirectory(dir=tmp_path) as name:
        folder = Path(name)
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
    "gzip without its end": SOUND[:-8],
    "gzip with another CRC": SOUND[:-8] + bytes([SOUND[-8] ^ 1]) + SOUND[-7:],
    "tar cut within an image": PLAIN[:700],
    "tar cut between images": PLAIN[:1024],
    "another archive": tar_of({"iSUN/a.png": png(0)}),
    "another selection": tar_of(lsun_files(4)),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_or_other_archive_does_not_get_the_official_place(server, tmp_path, content):
    row = served(LSUN, server, content, md5=False)
    with pytest.raises(UserError, match="LSUN: .*(?s:.*)delete the file"):
        prepare(row, tmp_path)
    assert everything_in(tmp_path) == ["downloads", "downloads/LSUN.tar.gz"]
    assert look(LSUN, tmp_path).state == "missing"
