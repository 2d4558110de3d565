"""Archives that are hostile or damaged never leave a file outside their place, nor take a set's place."""

import shutil
import tarfile

import pytest

from tests.archive_files import LSUN, everything_in, lsun_files, png, serve_archive, tar_of, zip_of
from utils.errors import UserError
from utils.prepare import archives
from utils.prepare.archives import ArchiveError, temporary_folder, unpack
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


@pytest.mark.parametrize(
    "name", ["LSUN/../../outside", "LSUN\\..\\..\\outside", "/tmp/outside-of-the-archive", "C:\\outside"]
)
def test_a_hostile_zip_leaves_nothing(server, tmp_path, name):
    root = tmp_path / "inner" / "datasets"
    source = serve_archive(server, zip_of({**lsun_files(), name: b"x"}), "LSUN.zip", md5=False)
    with pytest.raises(UserError, match="refused, nothing was unpacked"):
        prepare(LSUN, source, root)
    assert everything_in(root) == ["downloads", "downloads/LSUN.zip"] and everything_in(tmp_path / "inner") == [
        "datasets",
        "datasets/downloads",
        "datasets/downloads/LSUN.zip",
    ]


def test_a_flipped_bit_in_a_zip_is_found(server, tmp_path):
    content = bytearray(zip_of(lsun_files()))
    content[content.index(b"IDAT") + 20] ^= 1
    source = serve_archive(server, bytes(content), "LSUN.zip", md5=False)
    with pytest.raises(UserError, match="damaged"):
        prepare(LSUN, source, tmp_path)
    assert not (tmp_path / "small_OOD_dataset").exists()


@pytest.mark.parametrize("members", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_archive_leaves_nothing(server, tmp_path, members):
    root = tmp_path / "inner" / "datasets"
    source = serve_archive(server, tar_of(lsun_files(), *members), md5=False)
    with pytest.raises(UserError, match="refused, nothing was unpacked"):
        prepare(LSUN, source, root)
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
    "gzip without its end": SOUND[:-8],
    "gzip with another CRC": SOUND[:-8] + bytes([SOUND[-8] ^ 1]) + SOUND[-7:],
    "tar cut within an image": PLAIN[:700],
    "tar cut between images": PLAIN[:1024],
    "another archive": tar_of({"iSUN/a.png": png(0)}),
    "another selection": tar_of(lsun_files(4)),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_or_other_archive_does_not_get_the_official_place(server, tmp_path, content):
    source = serve_archive(server, content, md5=False)
    with pytest.raises(UserError, match="LSUN: .*(?s:.*)delete the file"):
        prepare(LSUN, source, tmp_path)
    assert everything_in(tmp_path) == ["downloads", "downloads/LSUN.tar.gz"]
    assert look(LSUN, tmp_path).state == "missing"
