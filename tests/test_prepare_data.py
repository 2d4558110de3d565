"""prepare_data.py: the table of sets, its README, and the script's --list, --check and --only."""

import importlib.util
import sys
from pathlib import Path

import pytest

from tests.archive_files import LSUN, everything_in, png, serve_archive, svhn_file
from tests.data_files import write_cifar10, write_images
from utils.data.ood_table import OOD_SETS, OODSet, find_ood_set
from utils.errors import UserError
from utils.files import REPOSITORY
from utils.prepare.datasets_readme import readme_text
from utils.prepare.inventory import look
from utils.prepare.sources import BY_HAND, Source, places_of, source_of


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


# The table


def test_every_set_has_a_source_a_place_and_a_licence():
    for row in OOD_SETS:
        assert row.licence
        if row.kind != "generated":
            source = source_of(row)
            # The libraries ask Dropbox for the file, the table names the page of the same file.
            assert source.address.removesuffix("?dl=1").replace("/s/raw/", "/s/") == row.source
            assert all(part.file_name and part.md5 for part in source.parts) if source.parts else source.file_name
            assert (source.md5 is not None) == bool(row.maintained or row.md5)
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
    sources = {"LSUN": Source(server.address("/gone"), "LSUN.tar.gz"), "SVHN": None}
    row = OODSet("SVHN", "svhn", "", "", 30, ("svhn",))
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
