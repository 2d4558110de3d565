"""Evaluations by OpenOOD's lists: which images count, how K is chosen, means of groups, and what is said with them."""

import json

import pytest
from PIL import Image

from tests.checkpoint_files import write_checkpoint
from tests.data_files import write_cifar10, write_cifar100
from utils.data.id_sets import load_id
from utils.data.openood import id_rows, lists_sha256

PUBLISHED_TIN = {"CIFAR-10": ((0, 1, 3), (2, 6)), "CIFAR-100": ((0, 1, 2), (3, 4))}  # test, validation


@pytest.mark.parametrize("name", PUBLISHED_TIN)
def test_both_cifars_in_small(name, run_eval, tmp_path):
    roots = {"CIFAR-10": write_cifar10(tmp_path / "c10", 200), "CIFAR-100": write_cifar100(tmp_path / "c100", 2000)}
    ood = tmp_path / "ood"
    for number in sum(PUBLISHED_TIN[name], ()):
        place = ood / "tiny-imagenet-200" / "val" / "images" / f"val_{number}.JPEG"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64), (20 * number,) * 3).save(place)
    other = "CIFAR-100" if name == "CIFAR-10" else "CIFAR-10"
    roots[other].rename(ood / other.replace("-", ""))
    data = load_id(name, tmp_path / ("c10" if name == "CIFAR-10" else "c100"))
    path = write_checkpoint(tmp_path / "checkpoint_1.pth.tar", class_names=data.class_names, in_dataset=name)
    where = ("--id-loc", tmp_path / ("c10" if name == "CIFAR-10" else "c100"), "--ood-loc", ood)
    status, out, err = run_eval("--ckpt", path, "--benchmark", "openood", *where, "--no-plots", "--workers", "0")
    assert status == 0, err
    found = json.loads((tmp_path / "eval_1" / "metrics.json").read_text())
    rows = id_rows(data)
    assert found["id_images"] == len(rows.test) < len(data.test) and found["positive"] == "OOD"
    assert found["benchmark"] == "openood" and found["lists_sha256"] == lists_sha256()
    sets = {entry["set"]: entry for entry in found["ood"].values()}
    assert sets.keys() == {other, "TIN"} and sets["TIN"]["images"] == 3 and not sets["TIN"]["official"]
    assert {entry["group"] for entry in sets.values()} == {"near"}
    assert list(found["missing"]) == ["MNIST", "SVHN", "dtd", "Places365-val"]
    assert found["with_whole_id_test"].keys() == found["ood"].keys()
    assert "OOD is the positive class" in out and "ID validation images against TIN validation" in out
    assert f"ID test is not OpenOOD v1.5's whole one: {len(rows.test):,} images of it are there" in out
    assert "average precision here and by trapezoids there" in out and "OpenOOD trains otherwise" in out


def test_a_benchmark_without_sets_for_the_id_set_is_refused(run_eval, tmp_path):
    path = write_checkpoint(tmp_path / "checkpoint_1.pth.tar", in_dataset="digits")
    status, _, err = run_eval("--ckpt", path, "--benchmark", "openood")
    assert status == 1 and "--benchmark openood has no OOD sets for digits; it has them for CIFAR-10, CIFAR-100" in err
