"""What an evaluation starts from: the run that is meant, images as in the training, classes in its order."""

import json

import pytest
import torch
from PIL import Image

from tests.checkpoint_files import write_checkpoint
from tests.data_files import write_images
from utils.checkpoint import load_checkpoint
from utils.data.id_sets import in_order_of, load_id
from utils.detection.reference import load_reference, reference_path
from utils.errors import UserError
from utils.evaluation.benchmark import BENCHMARKS
from utils.evaluation.inputs import find_checkpoint, load_id_data, trained_format
from utils.evaluation.ood import load_ood_sets

COLORS = {"blue": (0, 0, 200), "green": (0, 200, 0), "red": (200, 0, 0)}
INPUT = {"size": 16, "mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7]}


def color_folder(root, names=tuple(COLORS), count=10, light=1.0):
    """A class folder of flat images for each colour, all of `light` times its brightness."""
    for name, color in zip(names, COLORS.values(), strict=True):
        for part in ("train", "val"):
            place = root / part / name
            place.mkdir(parents=True)
            for i in range(count):
                shade = tuple(int(light * (value + i)) for value in color)
                Image.new("RGB", (20, 20), shade).save(place / f"{i}.png")
    return root


def color_checkpoint(path, **args):
    return write_checkpoint(path, class_names=tuple(COLORS), **args)


def test_images_are_normalised_as_in_the_training_everywhere(run_eval, tmp_path):
    data = color_folder(tmp_path / "dark", light=0.25)
    path = color_checkpoint(tmp_path / "run" / "checkpoint_1.pth.tar", in_dataset="folder", input=INPUT)
    common = ("--ckpt", path, "--id-loc", data, "--ood-sets", "photographs", "--no-plots", "--workers", "0", "--K", "2")
    assert run_eval(*common)[0] == 0
    reference = load_reference(reference_path(path))
    assert (reference.size, list(reference.mean), list(reference.std)) == (16, INPUT["mean"], INPUT["std"])
    found = json.loads((path.parent / "eval_1" / "metrics.json").read_text())
    assert found["normalisation"] == INPUT
    # The features are those of the trained statistics, not those of the dark folder.
    other = color_checkpoint(tmp_path / "other" / "checkpoint_1.pth.tar", in_dataset="folder", image_size=16)
    assert run_eval("--ckpt", other, *common[2:])[0] == 0
    own = load_reference(reference_path(other))
    assert own.mean == pytest.approx(load_id("folder", data, image_size=16).mean) and own.mean != reference.mean
    assert not torch.allclose(own.bank, reference.bank, atol=1e-3)


def test_the_statistics_of_the_training_go_with_the_network_to_any_set(tmp_path):
    said = INPUT | {"size": load_id("digits").size}
    path = write_checkpoint(tmp_path / "x.pth.tar", in_dataset="digits", input=said)
    data = load_id_data(load_checkpoint(path), None, None, image_size=None, download=False)
    assert data.mean == tuple(INPUT["mean"]) and data.std == tuple(INPUT["std"])


@pytest.mark.parametrize(("then", "said"), [({}, False), ({"train_images": 30}, False), ({"train_images": 29}, True)])
def test_images_that_came_or_went_since_the_training_are_said(then, said, tmp_path):
    data = color_folder(tmp_path / "data")
    path = color_checkpoint(tmp_path / "x.pth.tar", in_dataset="folder", id_loc=str(data), **then)
    found = load_id_data(load_checkpoint(path), None, None, image_size=16, download=False)
    assert (
        "folder had 29 training images when the network was trained and has 30 now" in " ".join(found.notes)
    ) == said


@pytest.mark.parametrize("names", [("mine", "mine"), ("ID test",), ("ID train",)])
def test_no_two_sets_of_images_have_one_name(names, tmp_path):
    write_images(tmp_path / "photos", 2)
    wanted = [f"{name}={tmp_path / 'photos'}" for name in names]
    with pytest.raises(UserError, match=f"two sets of images are called {names[0]};"):
        load_ood_sets(load_id("digits"), wanted, None, benchmark=BENCHMARKS["cider"], seed=0)


def test_classes_in_another_order_are_matched_by_name(tmp_path):
    data = load_id("folder", color_folder(tmp_path), image_size=16)
    before = [data.class_names[label] for label in data.test.labels]
    turned = in_order_of(data, ("red", "blue", "green"), "a file")
    assert turned.class_names == ("red", "blue", "green")
    for part in (turned.train, turned.test):
        assert [turned.class_names[label] for label in part.labels] == before
    assert turned.test.fingerprint != data.test.fingerprint  # labels are a part of it
    assert "another order" in turned.notes[-1]
    assert in_order_of(data, data.class_names, "a file") is data and in_order_of(data, (), "a file") is data


def test_a_renamed_class_is_refused_with_both_lists(run_eval, tmp_path):
    color_folder(tmp_path / "data", names=("zebra", "green", "red"))
    path = color_checkpoint(tmp_path / "checkpoint_1.pth.tar", in_dataset="folder", input=INPUT)
    status, _, err = run_eval("--ckpt", path, "--id-loc", tmp_path / "data", "--ood-sets", "photographs")
    assert status == 1 and "trained on : blue, green, red" in err and "found      : green, red, zebra" in err
    assert not (tmp_path / "eval_1").exists()


def test_few_images_are_said_with_the_table(run_eval, tmp_path):
    color_folder(tmp_path / "data")
    write_images(tmp_path / "photos", 7)
    path = color_checkpoint(tmp_path / "checkpoint_1.pth.tar", in_dataset="folder", input=INPUT)
    ood = ("--ood-sets", f"mine={tmp_path / 'photos'}", "--no-plots", "--workers", "0")
    status, out, err = run_eval("--ckpt", path, "--id-loc", tmp_path / "data", *ood, "--K", "11")
    assert status == 0, err
    assert "K=11 is more than the 10 training images of the smallest class" in out
    assert "too few images for a figure to rely on: mine has 7, ID test has 30 (at least 100 are needed)" in out
    assert "K=10 is more" not in run_eval("--ckpt", path, "--id-loc", tmp_path / "data", *ood, "--K", "10")[1]


def test_an_unknown_run_lists_those_that_are_there(tmp_path):
    for place in ("CIFAR-10/mine", "CIFAR-10/other", "digits/demo"):
        (tmp_path / place).mkdir(parents=True)
    with pytest.raises(UserError, match="CIFAR-10/mine, CIFAR-10/other"):
        find_checkpoint(tmp_path, "CIFAR-10", "othr", None)
    with pytest.raises(UserError, match="there are  : CIFAR-10/mine, CIFAR-10/other, digits/demo"):
        find_checkpoint(tmp_path, None, "x", None)
    with pytest.raises(UserError, match=r"(?s)drive.google.com.*CIFAR-100/ckpt_c100/checkpoint_500.pth.tar"):
        find_checkpoint(tmp_path, "CIFAR-100", "ckpt_c100", None)
    with pytest.raises(UserError, match="there are  : epochs none"):
        find_checkpoint(tmp_path, None, "demo", None)


@pytest.mark.parametrize("said", [{"size": "x"}, {**INPUT, "mean": 3}, {**INPUT, "std": ["a"]}, 5])
def test_statistics_that_make_no_sense_are_one_line(tmp_path, said):
    found = load_checkpoint(color_checkpoint(tmp_path / "run" / "checkpoint_1.pth.tar", input=said))
    with pytest.raises(UserError, match="does not say what its images were like"):
        trained_format(found)
