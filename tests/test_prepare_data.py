"""prepare_data.py: the table of sets, its README, and the script's --list, --check and --only."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torchvision
from pytorch_ood.dataset import img

from scripts import prepare_data
from tests.archive_files import LSUN, everything_in, png, served, svhn_file
from tests.data_files import write_cifar10, write_images
from utils.data.ood_table import OOD_SETS, OODSet, find_ood_set
from utils.errors import UserError
from utils.files import REPOSITORY
from utils.prepare.inventory import look
from utils.prepare.sources import BY_HAND, downloads_of, places_of


@pytest.fixture
def script(monkeypatch):
    """Run the script's main: its exit status."""

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["prepare_data.py", *map(str, arguments)])
        return prepare_data.main()

    return run


# The table


def test_every_set_has_a_source_a_place_and_a_licence():
    for row in OOD_SETS:
        assert row.licence
        if row.kind != "generated":
            assert places_of(row, Path("datasets"))
            assert all(download.file.suffix for download in downloads_of(row, Path("datasets")))


def test_addresses_and_checksums_are_those_of_the_libraries():
    tables = {row.name: (row.source, row.parts or row.md5) for row in OOD_SETS if row.kind != "generated"}
    for name in ("CIFAR10", "CIFAR100"):
        facts = getattr(torchvision.datasets, name)
        assert tables[name.replace("R1", "R-1")] == (facts.url, facts.tgz_md5)
    address, _, md5 = torchvision.datasets.SVHN.split_list["test"]
    assert tables["SVHN"] == (address, md5)
    mnist = torchvision.datasets.MNIST
    assert tables["MNIST"] == (mnist.mirrors[0], tuple(part for part in mnist.resources if "images" in part[0]))
    for name, facts in {
        "LSUN": img.LSUNCrop,
        "LSUN_resize": img.LSUNResize,
        "TinyImageNet_crop": img.TinyImageNetCrop,
        "TinyImageNet_resize": img.TinyImageNetResize,
        "dtd": img.Textures,
    }.items():
        assert tables[name] == (facts.url, facts.tgz_md5)


def test_the_page_of_the_data_sets_has_what_the_table_has():
    lines = (REPOSITORY / "datasets" / "README.md").read_text(encoding="utf-8").splitlines()
    for row in OOD_SETS:
        if row.kind == "generated":
            continue
        (line,) = (line for line in lines if line.startswith(f"| {row.name} |"))
        _, _, images, download, md5, licence, _ = map(str.strip, line.split("|"))
        count = f"{row.count:,}"
        assert images == (f"60,000 ({count} as OOD set)" if row.kind == "cifar" else count) and licence == row.licence
        size = f"about {row.megabytes:,} MB" if row.megabytes else "size not stated"
        assert download == f"<{row.source}>, {size}"
        assert md5 == (", ".join(md5 for _, md5 in row.parts) or row.md5 or "none published")
        for place in places_of(row, Path("datasets")):
            assert f"  {place.relative_to('datasets')}/ " in "\n".join(lines)
    for item in BY_HAND:
        assert f"| {item.name} | `{item.place}` | {item.how} |" in lines


# The script


def test_list_shows_every_set(script, tmp_path, capsys):
    assert script("--list", "--root", tmp_path / "none") == 0
    text = capsys.readouterr().out
    assert not (tmp_path / "none").exists()
    for row in OOD_SETS:
        assert row.name in text
    for item in BY_HAND:
        assert item.name in text and item.how in text
    assert "missing" in text and find_ood_set("SVHN").md5 in text


def test_check_is_right_about_nothing_and_wrong_about_a_partial_set(script, tmp_path, capsys):
    assert script("--check", "--root", tmp_path) == 0
    assert "LSUN                 missing" in capsys.readouterr().out
    place = tmp_path / "small_OOD_dataset" / "lsun" / "test"
    place.mkdir(parents=True)
    (place / "a.png").write_bytes(png(0))
    assert script("--check", "--only", "lsun", "--root", tmp_path) == 1
    assert "1 images in place of 10,000" in capsys.readouterr().out


def test_images_that_cannot_be_decoded_are_found_where_that_is_asked_for(script, tmp_path, capsys):
    for part in ("train", "val"):
        for name in ("n01440764", "n01443537"):
            write_images(tmp_path / "ImageNet100" / part / name, 2, suffix=".JPEG")
    whole = (tmp_path / "ImageNet100/train/n01440764/00001.JPEG").read_bytes()
    (tmp_path / "ImageNet100/train/n01440764/00001.JPEG").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "ImageNet100/val/n01443537/00000.JPEG").write_text("<html>")
    write_images(tmp_path / "small_OOD_dataset/LSUN/test", 2)
    (tmp_path / "small_OOD_dataset/LSUN/test/00000.png").write_bytes(b"")
    assert script("--check", "--only", "imagenet100", "--root", tmp_path) == 1
    printed = capsys.readouterr().out
    assert "2 classes in place of 100" in printed and "decoded" not in printed and "LSUN" not in printed
    assert script("--check", "--decode", "--only", "LSUN,ImageNet-100", "--root", tmp_path) == 1
    printed = capsys.readouterr().out
    assert "2 of 8 images cannot be decoded" in printed and "1 of 2 images cannot be decoded" in printed
    for place in ("train/n01440764/00001.JPEG (", "val/n01443537/00000.JPEG (not an image", "test/00000.png ("):
        assert place in printed
    with pytest.raises(SystemExit):
        script("--list", "--decode")


def test_list_does_not_claim_what_check_denies(script, tmp_path, capsys):
    write_cifar10(tmp_path / "CIFAR10")
    assert script("--list", "--only", "CIFAR10", "--root", tmp_path) == 0
    assert "CIFAR-10             there, not read: 7 of 7 files" in capsys.readouterr().out
    assert script("--check", "--only", "CIFAR10", "--root", tmp_path) == 1
    assert "CIFAR-10             wrong" in capsys.readouterr().out


def test_one_set_that_fails_does_not_stop_the_others(script, server, tmp_path, capsys, monkeypatch):
    gone = replace(LSUN, source=server.address("/gone/LSUN.tar.gz"))
    row = OODSet("SVHN", "svhn", "", "", 30, ("svhn",))
    row = served(row, server, svhn_file(tmp_path / "made.mat", 30), "test_32x32.mat")
    monkeypatch.setattr(prepare_data, "OOD_SETS", (gone, row))
    monkeypatch.setattr(prepare_data, "find_ood_set", {"LSUN": gone, "SVHN": row}.get)
    assert script("--only", "LSUN,SVHN", "--root", tmp_path / "data") == 1
    printed = capsys.readouterr()
    assert "LSUN could not be downloaded" in printed.err and "not prepared: LSUN\n" in printed.err
    assert "404" in printed.err and gone.source in printed.err
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
