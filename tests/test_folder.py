"""Classes of one's own, as the README shows it: a folder is drawn, trained on, evaluated, and images are told apart."""

import csv
import json

import pytest
from PIL import Image

from tests.commands import here, python
from utils.data.id_sets import load_id
from utils.detection.reference import load_reference, reference_path

SAID = "6 of 6 classes share their prototype with another class. Do not rely on its OOD scores."


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """The example folder with few images, and the checkpoint of one epoch on it, in which nothing can be learned."""
    place = tmp_path_factory.mktemp("own")
    done = python("scripts/make_example_folder.py", "shapes", "--per-class", "10", cwd=place)
    assert done.returncode == 0, done.stderr
    settings = ("--image-size", "16", "--width", "8", "--epochs", "1", "--warmup", "none", "--workers", "0")
    hopeless = ("--learning_rate", "1e-6", "--prototype-init", "class-means")
    where = ("--in-dataset", "folder", "--id-loc", "shapes/classes", "--checkpoints", "runs", "--name", "own")
    done = python("train_cider.py", *where, *settings, *hopeless, cwd=place)
    assert done.returncode == 0 and SAID in done.stderr, done.stderr
    assert "48 training images: batch size 16, learning rate 1e-06" in done.stdout
    return place, place / "runs" / "folder" / "own" / "checkpoint_1.pth.tar"


@pytest.fixture(scope="module")
def evaluated(shapes):
    place, checkpoint = shapes
    ood = ("--ood-sets", "unknown=shapes/unknown", "photographs")
    done = python("eval_cider.py", "--ckpt", checkpoint, *ood, "--K", "3", "--no-plots", "--workers", "0", cwd=place)
    assert done.returncode == 0, done.stderr
    return done


def test_the_example_folder_is_the_same_again_and_overwrites_nothing(shapes, tmp_path):
    place, _ = shapes
    script = "scripts/make_example_folder.py"
    assert here(script, tmp_path / "again", "--per-class", "10").returncode == 0
    found, expected = (sorted(root.rglob("*.png")) for root in (tmp_path / "again", place / "shapes"))
    assert len(found) == 90
    assert [path.read_bytes() for path in found] == [path.read_bytes() for path in expected]
    done = here(script, place / "shapes")
    assert done.returncode == 1 and "is there already" in done.stderr


def test_evaluation_finds_images_size_and_classes_by_the_checkpoint(shapes, evaluated):
    place, checkpoint = shapes
    metrics = json.loads((checkpoint.parent / "eval_1" / "metrics.json").read_text())
    assert metrics["class_names"] == ["circle", "cross", "heart", "square", "star", "triangle"]
    assert metrics["id_images"] == 12 and metrics["ood"]["unknown"]["images"] == 30
    reference = load_reference(reference_path(checkpoint))
    data = load_id("folder", place / "shapes" / "classes", image_size=16, seed=4)
    assert reference.size == 16 and len(reference.bank) == len(data.train) == 48 and len(reference.held_out) == 12
    assert reference.mean == pytest.approx(data.mean) and reference.std == pytest.approx(data.std)


def test_detection_needs_no_training_image(shapes, evaluated):
    place, checkpoint = shapes
    (place / "shapes" / "classes").rename(place / "away")
    try:
        wanted = ("--images", "shapes/unknown", "--csv", "out.csv", "--sheet", "out.png", "--sheet-images", "8")
        done = python("detect.py", "--ckpt", checkpoint, *wanted, cwd=place)
    finally:
        (place / "away").rename(place / "shapes" / "classes")
    assert done.returncode == 0 and SAID in done.stderr, done.stderr
    assert "30 images" in done.stdout and "95 % of 12 images" in done.stdout
    with open(place / "out.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 30 and {row["nearest_class"] for row in rows} <= {
        path.name for path in (place / "shapes" / "classes").iterdir()
    }
    with Image.open(place / "out.png") as sheet:
        assert sheet.format == "PNG"


def test_fit_makes_the_statistics_without_an_evaluation(shapes, tmp_path):
    place, checkpoint = shapes
    classes, own = place / "shapes" / "classes", tmp_path / "own.npz"
    images = ("--images", place / "shapes" / "unknown" / "ring", "--device", "cpu")
    done = here("detect.py", "--ckpt", checkpoint, "--reference", own, "--fit", classes, *images)
    assert done.returncode == 0 and SAID in done.stderr, done.stderr
    assert "48 images to compare with, 12 held out" in done.stdout and "10 images" in done.stdout
    reference, data = load_reference(own), load_id("folder", classes, image_size=16, seed=4)
    assert reference.mean == pytest.approx(data.mean) and reference.class_names == data.class_names
