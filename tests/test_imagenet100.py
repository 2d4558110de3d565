"""ImageNet-100: made from a small tree in ImageNet's layout, trained on, evaluated; and its schedule."""

import os
import re
from functools import partial
from itertools import product

import numpy as np
import pytest
import torch
from scipy.io import savemat

from tests.commands import here, shell
from tests.data_files import write_images
from train_cider import parse_arguments
from utils.data.id_records import id_set
from utils.data.id_sets import load_id
from utils.data.imagenet import PUBLIC_LIST, read_class_list
from utils.errors import UserError
from utils.prepare.imagenet import read_val_labels
from utils.training.schedule import learning_rate
from utils.training.settings import RunSettings

PUBLIC = read_class_list(PUBLIC_LIST)
OTHERS = ("n01440764", "n01443537", "n01484850")
make = partial(here, "scripts/make_imagenet100.py")


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """103 classes of tiny JPEGs: two training images and one validation image each."""
    root = tmp_path_factory.mktemp("imagenet")
    for number, name in enumerate(sorted({*PUBLIC, *OTHERS})):
        for part, count in (("train", 2), ("val", 1)):
            write_images(root / part / name, count, size=(30, 24), suffix=".JPEG", seed=number)
    return root


def files(root):
    """Every file below a folder, links followed, with its content."""
    found = {}
    for place, _, names in os.walk(root, followlinks=True):
        for name in names:
            path = os.path.join(place, name)
            with open(path, "rb") as stream:
                found[os.path.relpath(path, root)] = stream.read()
    return found


def wanted(imagenet, names=PUBLIC):
    return {path: content for path, content in files(imagenet).items() if path.split(os.sep)[1] in names}


def parts_of(root):
    return {path: content for path, content in files(root).items() if path.startswith(("train", "val"))}


def test_the_list_is_the_public_one():
    assert len(PUBLIC) == len(set(PUBLIC)) == 100
    assert PUBLIC[0] == "n03877845" and not set(PUBLIC) & set(OTHERS)


@pytest.mark.parametrize("how", ["links", "copies"])
def test_subset_holds_the_public_classes_and_is_made_once(imagenet, tmp_path, how):
    arguments = (imagenet, tmp_path / "subset", *(["--copy"] if how == "copies" else []))
    planned = make(*arguments, "--dry-run")
    assert planned.returncode == 0 and "200 images  would be" in planned.stdout and not list(tmp_path.iterdir())
    done = make(*arguments)
    assert done.returncode == 0, done.stderr
    assert parts_of(tmp_path / "subset") == wanted(imagenet)
    assert (tmp_path / "subset/train" / PUBLIC[0]).is_symlink() == (how == "links")
    assert re.search(r"train +200 images +(linked|copied)", done.stdout) and re.search(r"val +100 images", done.stdout)
    assert "100 classes have not the 732 to 1,300 images" in done.stderr and "not the 50 images" in done.stderr
    assert sorted(path.name for path in (tmp_path / "subset").iterdir()) == ["classes.txt", "train", "val"]
    before = (tmp_path / "subset/train").stat().st_mtime_ns
    again = make(*arguments)
    assert again.returncode == 0 and again.stdout.count("there already") == 2
    assert (tmp_path / "subset/train").stat().st_mtime_ns == before


def test_without_dest_it_is_the_place_where_training_looks(imagenet):
    planned = make(imagenet, "--dry-run")
    assert planned.returncode == 0 and planned.stdout.startswith(f"{id_set('ImageNet-100').folder}: 100 classes")
    assert planned.stdout.endswith("train_cider_imgnet100.sh\n")


def test_an_interrupted_copy_is_not_taken_for_a_subset_and_finishes(imagenet, tmp_path):
    make(imagenet, tmp_path, "--copy")
    whole, cut, gone = PUBLIC[:3]
    (tmp_path / "train").rename(tmp_path / ".incomplete-train")
    unfinished = tmp_path / ".incomplete-train"
    (unfinished / gone).rename(unfinished / f".{gone}")
    (unfinished / cut / "00001.JPEG").write_bytes(b"half")
    kept = (unfinished / whole / "00000.JPEG").stat().st_ino
    done = make(imagenet, tmp_path, "--copy")
    assert done.returncode == 0, done.stderr
    assert parts_of(tmp_path) == wanted(imagenet) and not unfinished.exists()
    assert (tmp_path / "train" / whole / "00000.JPEG").stat().st_ino == kept


def test_random_classes_are_seeded_and_their_list_repeats_them(imagenet, tmp_path):
    for place, seed in (("a", 1), ("b", 1), ("c", 2)):
        done = make(imagenet, tmp_path / place, "--random", "20", "--seed", str(seed))
        assert done.returncode == 0, done.stderr
        assert f"--id_loc {tmp_path / place}" in done.stdout
    lists = [read_class_list(tmp_path / place / "classes.txt") for place in "abc"]
    assert len(lists[0]) == 20 and lists[0] == lists[1] != lists[2]
    assert make(imagenet, tmp_path / "d", "--classes", tmp_path / "a/classes.txt").returncode == 0
    assert parts_of(tmp_path / "d") == parts_of(tmp_path / "a") == wanted(imagenet, lists[0])


def test_a_val_that_is_not_sorted_needs_a_table(imagenet, tmp_path):
    source = tmp_path / "source/ILSVRC/Data/CLS-LOC"
    (source / "val").mkdir(parents=True)
    (source / "train").symlink_to(imagenet / "train")
    table = ["ImageId,PredictionString"]
    for number, name in enumerate((*PUBLIC, *OTHERS)):
        (source / "val" / f"ILSVRC2012_val_{number:08d}.JPEG").symlink_to(imagenet / "val" / name / "00000.JPEG")
        table.append(f"ILSVRC2012_val_{number:08d},{name} 1 2 3 4 {name} 5 6 7 8 ")
    (tmp_path / "labels.csv").write_text("\n".join(table))
    done = make(tmp_path / "source", tmp_path / "subset")
    assert done.returncode == 1 and "not sorted" in done.stderr and "--val-labels" in done.stderr
    done = make(tmp_path / "source", tmp_path / "subset", "--val-labels", tmp_path / "labels.csv")
    assert done.returncode == 0, done.stderr
    there = {path.split(os.sep)[1]: content for path, content in files(tmp_path / "subset/val").items()}
    data = load_id("ImageNet-100", tmp_path / "subset", image_size=32)
    assert len(there) == len(data.test) == 100 and data.notes == ()
    for name in PUBLIC:
        (image,) = (tmp_path / "subset/val" / name).iterdir()
        assert image.read_bytes() == (imagenet / "val" / name / "00000.JPEG").read_bytes()
    (tmp_path / "labels.csv").write_text("\n".join(table[:-1]))
    done = make(tmp_path / "source", tmp_path / "other", "--val-labels", tmp_path / "labels.csv")
    assert done.returncode == 1 and "ILSVRC2012_val_00000102.JPEG" in done.stderr


ROWS = [("ILSVRC2012_val_00000001", OTHERS[0]), ("ILSVRC2012_val_00000002", OTHERS[1])]
TABLES = {
    "Kaggle's": "ImageId,PredictionString\n" + "".join(f"{image},{name} 1 2 3 4\n" for image, name in ROWS),
    "quoted": '"image","class"\r\n' + "".join(f'"{image}.JPEG","{name}"\r\n' for image, name in ROWS),
    "semicolons": "".join(f"{image}.JPEG;{name}\n" for image, name in ROWS),
    "words": "".join(f"{image}.JPEG\t{name}\n\n" for image, name in ROWS),
    "valprep.sh": "#!/bin/bash\n"
    + "".join(f"mkdir -p {name}\n" for _, name in ROWS)
    + "".join(f"mv {image}.JPEG {name}/\n" for image, name in ROWS),
}


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "byte-order mark"])
@pytest.mark.parametrize("kind", TABLES)
def test_tables_of_val_in_the_forms_that_are_about(tmp_path, kind, mark):
    (tmp_path / "table").write_bytes((mark + TABLES[kind]).encode())
    assert read_val_labels(tmp_path / "table") == dict(ROWS)


def write_devkit(folder, numbers):
    """meta.mat with two classes and what they are kinds of, and the numbers of the images' classes."""
    kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    synsets = np.array([(2, OTHERS[0], "a", 0), (1, OTHERS[1], "b", 0), (3, "n00000001", "both", 2)], dtype=kinds)
    folder.mkdir(exist_ok=True)
    savemat(folder / "meta.mat", {"synsets": synsets[:, None]})
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text("".join(f"{number}\n" for number in numbers))
    return folder / "ILSVRC2012_validation_ground_truth.txt"


def test_the_development_kit_gives_the_classes_of_val(tmp_path):
    table = write_devkit(tmp_path, [2, 1])
    assert read_val_labels(table) == dict(ROWS)
    for numbers in ([2, 1, 3], [0, 1], [2, "x"], [2, "n01440764"]):
        with pytest.raises(UserError, match="(?s)not .*ground_truth.txt"):
            read_val_labels(write_devkit(tmp_path, numbers))
    (tmp_path / "meta.mat").write_bytes(b"damaged")
    with pytest.raises(UserError, match="(?s)not the development kit's.*meta.mat"):
        read_val_labels(write_devkit(tmp_path / "other", [1]).rename(table))
    (tmp_path / "meta.mat").unlink()
    with pytest.raises(UserError, match="(?s)table of classes.*looked for.*meta.mat"):
        read_val_labels(table)


def test_a_line_that_is_not_of_image_and_class_is_named(tmp_path):
    (tmp_path / "table").write_text(f"a.JPEG,{OTHERS[0]}\nb.JPEG,goldfish\n")
    with pytest.raises(UserError, match="(?s)not a line of image and class: b.JPEG goldfish.*table, line 2"):
        read_val_labels(tmp_path / "table")


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff{}\n# a remark\n\n{}\n",
        '"wnid","name"\n"{}","a, b"\n"{}","c"\n',
        "{} tench, Tinca tinca\r\n{} goldfish\r\n",
    ],
)
def test_lists_of_classes_in_the_forms_that_are_about(tmp_path, text):
    (tmp_path / "classes").write_text(text.format(*OTHERS[:2]), encoding="utf-8", newline="")
    assert read_class_list(tmp_path / "classes") == tuple(OTHERS[:2])


def test_what_is_missing_or_in_the_way_is_named(imagenet, tmp_path):
    def fails(said, *arguments):
        done = make(*arguments)
        assert done.returncode == 1 and said in done.stderr, done.stderr

    (tmp_path / "some/train").mkdir(parents=True)
    fails("ImageNet not found", tmp_path / "some", tmp_path / "subset")
    fails("folder not found", tmp_path / "nowhere", tmp_path / "subset")
    (tmp_path / "list.txt").write_text("n01440764\nn99999999\n")
    fails("1 of 2 classes are missing", imagenet, tmp_path / "subset", "--classes", tmp_path / "list.txt")
    (tmp_path / "list.txt").write_text("n01440764\ngoldfish\n")
    fails("goldfish is no WordNet id", imagenet, tmp_path / "subset", "--classes", tmp_path / "list.txt")
    fails("from 2 to 103", imagenet, tmp_path / "subset", "--random", "104")
    assert make(imagenet, tmp_path / "subset").returncode == 0
    fails("another choice of classes", imagenet, tmp_path / "subset", "--random", "5")
    (tmp_path / "subset/val" / PUBLIC[0]).unlink()
    (tmp_path / "subset/val" / PUBLIC[0]).symlink_to(tmp_path / "moved away")
    fails(f"1 are missing, not wanted or have other images ({PUBLIC[0]})", imagenet, tmp_path / "subset")
    (tmp_path / "file").touch()
    fails("cannot be made", imagenet, tmp_path / "file" / "subset")


@pytest.mark.parametrize(
    "wrong", [["--random", "5"], ["DEST", "--seed", "5"], ["DEST", "--random", "5", "--classes", "f"]]
)
def test_wrong_usage(wrong):
    assert make("SRC", *wrong).returncode == 2


def test_made_trained_saved_and_evaluated(imagenet, tmp_path):
    assert make(imagenet, tmp_path / "data").returncode == 0
    small = (
        "--id_loc",
        tmp_path / "data",
        "--no-pretrained",
        "--image-size",
        "32",
        "--workers",
        "0",
        "--device",
        "cpu",
    )
    run = ("--epochs", "1", "--batch-size", "64", "--warmup", "none", "--checkpoints", tmp_path, "--name", "small")
    done = shell("train_cider_imgnet100.sh", *small, *run)
    assert done.returncode == 0, done.stderr
    checkpoint = torch.load(tmp_path / "ImageNet-100/small/checkpoint_1.pth.tar", weights_only=True)
    assert checkpoint["dis_state_dict"]["prototypes"].shape == (100, 128)
    write_images(tmp_path / "photos", 6)
    ood = ("--ood-sets", f"mine={tmp_path / 'photos'}", "--no-plots", "--K", "5", "--workers", "0", "--device", "cpu")
    done = shell("eval_ckpt_imgnet100.sh", "small", "--checkpoints", tmp_path, *ood)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^mine +6 +\d+\.\d\d", done.stdout, re.MULTILINE) and "K=5" in done.stdout


def test_classes_that_are_not_the_public_ones_are_noted(imagenet, tmp_path):
    make(imagenet, tmp_path, "--random", "100", "--seed", "1")
    (note,) = load_id("ImageNet-100", tmp_path, image_size=32).notes
    assert re.search(r"\d classes are not of the public list", note)


def rates(*command_line, batches=248):
    """Learning rates of every step of a command line: 126,689 images are 248 batches of 512."""
    args = parse_arguments(command_line=["--in-dataset", "ImageNet-100", "--device", "cpu", *command_line])
    schedule = RunSettings.of(vars(args)).schedule
    steps = product(range(args.epochs), range(batches))
    return args, [learning_rate(epoch, batch, batches, **schedule) for epoch, batch in steps]


@pytest.mark.parametrize("official", [[], ["--epochs", "20", "--learning_rate", "0.005"]], ids=["paper", "script"])
def test_the_rate_leaves_the_warm_up_of_one_epoch(official):
    args, found = rates(*official)
    assert args.epochs == (20 if official else 10) and args.learning_rate == (0.005 if official else 0.01)
    assert max(found) > 0.95 * args.learning_rate and 0 < min(found) < 0.002
    assert found[248] > 0.95 * args.learning_rate and sorted(found[248:], reverse=True) == found[248:]


def test_the_official_warm_up_would_never_end_within_ten_epochs():
    args, found = rates("--warmup", "reference", "--warmup-epochs", "10")
    assert args.learning_rate == 0.01
    assert max(found) < 0.0012 and sorted(found, reverse=True) == found
    assert args.epochs % 100 != 0  # nor would its interval of 100 epochs save anything
