"""detect.py and load_detector: scores as the evaluation has them, thresholds, files of any kind, mistakes."""

import csv
import json
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from models.cider import CIDERNet
from models.vos import VOSNet
from tests.checkpoint_files import write_checkpoint
from tests.commands import here
from tests.data_files import write_images
from utils.checkpoint import load_checkpoint, save
from utils.data.digits import held_out_digits, id_digits
from utils.detection.contact_sheet import Group, Picture, draw_contact_sheet, pick_rows
from utils.detection.detector import load_detector
from utils.detection.files import decode_stream
from utils.detection.fit import input_format
from utils.detection.reference import load_reference, reference_path, save_reference
from utils.errors import UserError, WrongUsage
from utils.evaluation import knn_search
from utils.evaluation.scores import knn_score

INPUT = {"size": 32, "mean": (0.3, 0.3, 0.3), "std": (0.4, 0.4, 0.4)}


def write_png(folder, images):
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{number:03d}.png")


def call(script, *arguments):
    """Run a script of the repository: its exit status, and what it printed."""
    done = here(script, "--device", "cpu", *arguments)
    return done.returncode, done.stdout, done.stderr


def run_detect(*arguments):
    return call("detect.py", *arguments)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A small network with prototypes, as the training saves it."""
    torch.manual_seed(0)
    prototypes = F.normalize(torch.randn(6, 128), dim=1)
    path = tmp_path_factory.mktemp("run") / "checkpoint_3.pth.tar"
    args = {"in_dataset": "digits", "temp": 0.2, "seed": 4, "input": INPUT}
    return write_checkpoint(path, method="cider", epoch=3, prototypes=prototypes, **args)


@pytest.fixture(scope="module")
def evaluated(checkpoint, tmp_path_factory):
    """The checkpoint after eval_cider.py, in a folder of its own, and the folder of the evaluation."""
    folder = tmp_path_factory.mktemp("evaluated")
    path, out = folder / checkpoint.name, folder / "eval"
    path.write_bytes(checkpoint.read_bytes())
    scores = ("--score", "knn", "maha++", "prototype")
    arguments = ("--ckpt", path, "--ood-sets", "digits-6-9", "--K", "7", "--no-plots", "--out", out, *scores)
    status, _, err = call("eval_cider.py", *arguments)
    assert status == 0, err
    return path, out


@pytest.fixture
def copied(evaluated, tmp_path):
    """A copy of the evaluated checkpoint with its statistics, for tests that change files."""
    path = tmp_path / "copy" / evaluated[0].name
    path.parent.mkdir()
    path.write_bytes(evaluated[0].read_bytes())
    reference_path(path).write_bytes(reference_path(evaluated[0]).read_bytes())
    return path


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_scores_are_those_of_the_evaluation_for_tensors_pictures_and_paths(evaluated, tmp_path):
    path, out = evaluated
    expected = np.load(out / "scores.npz")
    detector = load_detector(path, device="cpu", batch_size=100)
    (_, _), (test, _) = id_digits()
    scores = detector.score(test)
    assert scores.shape == (len(test),) and not scores.is_inference()
    np.testing.assert_allclose(scores, expected["id"], rtol=1e-4)
    np.testing.assert_allclose(detector.score(held_out_digits()[:99]), expected["ood/digits-6-9"][:99], rtol=1e-4)
    np.testing.assert_allclose(detector.id_scores, scores, rtol=1e-4)
    np.testing.assert_array_equal(detector.id_scores, expected["id"])
    some = test[:5]
    write_png(tmp_path / "some", some)
    paths = sorted((tmp_path / "some").iterdir())
    pictures = [Image.open(each) for each in paths]
    for same in (paths, [str(each) for each in paths], pictures, some):
        torch.testing.assert_close(detector.score(same), scores[:5], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(detector.score(paths[0]), scores[:1], rtol=1e-4, atol=1e-6)
    assert detector.score([]).shape == (0,)


@pytest.mark.parametrize("score", ["knn", "maha++", "prototype", "ssd", "rmd", "gmm"])
def test_any_score_of_the_evaluation_and_others(evaluated, score):
    path, out = evaluated
    expected = np.load(out / "scores.npz")
    detector = load_detector(path, device="cpu", score=score)
    (_, _), (test, _) = id_digits()
    found = detector.score(test)
    tolerance = {"rtol": 1e-4, "atol": 1e-4 * float(found.abs().mean())}
    torch.testing.assert_close(found, detector.id_scores.to(found.dtype), **tolerance)
    if f"{score}/id" in expected:
        np.testing.assert_array_equal(detector.id_scores, expected[f"{score}/id"])
        found = detector.score(held_out_digits()[:99])
        np.testing.assert_allclose(found, expected[f"{score}/ood/digits-6-9"][:99], **tolerance)
    assert ("KNN (K=7)" if score == "knn" else score[:4]).lower() in detector.shown.lower()


def test_a_small_bank_is_evaluated_and_kept_in_half_precision(checkpoint, tmp_path):
    path, out = tmp_path / checkpoint.name, tmp_path / "eval"
    path.write_bytes(checkpoint.read_bytes())
    arguments = ("--ckpt", path, "--ood-sets", "digits-6-9", "--bank", 500, "--no-plots", "--out", out, "--seed", 3)
    status, printed, err = call("eval_cider.py", *arguments)
    assert status == 0 and "500 of 869 ID training images are used" in printed, err
    assert not reference_path(path).exists()
    with np.load(reference_path(path, small=True)) as archive:
        assert archive["bank"].dtype == archive["held_out"].dtype == np.float16
        assert (len(archive["bank"]), len(archive["held_out"])) == (500, 50)
        assert set(np.bincount(archive["bank_labels"])) == {83, 84}
    detector = load_detector(path, device="cpu")
    assert detector.shown == "KNN (K=3)"  # 5 of 869
    expected = np.load(out / "scores.npz")
    np.testing.assert_array_equal(detector.id_scores, expected["id"])
    (_, _), (test, _) = id_digits()
    np.testing.assert_allclose(detector.score(test), expected["id"], rtol=0.02)
    save_reference(reference_path(path), replace(detector.reference, k=7))
    assert load_detector(path, device="cpu").shown == "KNN (K=7)"  # that of all images comes first


def test_the_bank_is_prepared_once(evaluated, monkeypatch):
    prepared = []
    monkeypatch.setattr(knn_search, "_Chunk", lambda *given, make=knn_search._Chunk: prepared.append(1) or make(*given))
    detector = load_detector(evaluated[0], device="cpu")
    for _ in range(3):
        detector.score(held_out_digits()[:4])
    assert len(prepared) <= 2  # in float32, and where that does not do in float64


def test_images_of_another_size_get_the_test_transform(evaluated):
    detector = load_detector(evaluated[0], device="cpu")
    wide = torch.randint(0, 256, (3, 40, 64), dtype=torch.uint8)
    picture = Image.fromarray(wide.permute(1, 2, 0).numpy())
    by_hand = picture.resize((51, 32), Image.Resampling.BILINEAR).crop((10, 0, 42, 32))
    expected = detector.score([by_hand])
    torch.testing.assert_close(detector.score(wide[None]), expected)
    torch.testing.assert_close(detector.score([picture]), expected)
    with pytest.raises(ValueError, match="uint8"):
        detector.score(torch.rand(2, 3, 32, 32))
    for single in (torch.rand(3, 32, 32), torch.zeros(32, 32, 3, dtype=torch.uint8)):
        with pytest.raises(ValueError, match=r"expected \(3, H, W\) uint8, got"):
            detector.score([single])
    with pytest.raises(ValueError, match="PIL images or paths, got ndarray"):
        detector.score([np.asarray(picture)])


def test_nearest_class_and_its_probability_under_the_vmf_mixture(evaluated):
    path, _ = evaluated
    detector = load_detector(path, device="cpu")
    images = held_out_digits()[:4]
    found = detector.examine(images)
    content = torch.load(path, weights_only=True)
    model = CIDERNet(**content["model_config"]).eval()
    model.load_state_dict(content["state_dict"])
    mean, std = detector.reference.mean[0], detector.reference.std[0]
    with torch.no_grad():
        embeddings = model((images.float() / 255 - mean) / std)
    for z, nearest, probability in zip(embeddings, found.classes, found.probabilities, strict=True):
        terms = [np.exp(float(z @ mu) / 0.2) for mu in content["dis_state_dict"]["prototypes"]]
        assert nearest == int(np.argmax(terms))
        assert probability == pytest.approx(max(terms) / sum(terms), rel=1e-3)


@pytest.mark.parametrize("score", ["nonsense", "all", "odinn"])
def test_a_score_that_there_is_not_is_answered_in_own_code_too(evaluated, score):
    with pytest.raises(WrongUsage, match=f"unknown score {score}; choose from knn, .*eval_cider.py knows all, too"):
        load_detector(evaluated[0], device="cpu", score=score)


def test_threshold_is_the_score_that_the_share_of_id_images_reaches(evaluated):
    detector = load_detector(evaluated[0], device="cpu")
    detector.id_scores = torch.arange(20, 0, -1.0)
    assert [detector.threshold(recall) for recall in (0.05, 0.5, 0.95, 1.0)] == [20, 11, 2, 1]


def test_whole_command_on_nested_folders_mixed_formats_and_broken_files(evaluated, tmp_path):
    images = tmp_path / "images"
    write_png(images / "known", id_digits()[1][0][:9])
    write_images(images / "deep" / "deeper", 5, (50, 30), ".jpg")
    Image.new("CMYK", (9, 70), 3).save(images / "cmyk.tif")
    Image.new("I;16", (8, 8), 40000).save(images / "deep" / "16bit.png")
    Image.new("P", (5, 4), 1).save(images / "palette.gif")
    (images / "broken.jpg").write_bytes(b"no image")
    whole = (images / "deep" / "deeper" / "00000.jpg").read_bytes()
    (images / "deep" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (images / "notes.txt").write_text("x")
    arguments = ("--ckpt", evaluated[0], "--images", images, "-b", "4", "--workers", "2")
    outputs = ("--csv", tmp_path / "a.csv", "--sheet", tmp_path / "a.png", "--json", tmp_path / "a.json")
    status, out, err = run_detect(*arguments, *outputs)
    assert status == 0, err
    every = read_csv(tmp_path / "a.csv")
    assert [row["path"] for row in every] == sorted(str(path) for path in images.rglob("*.*") if path.suffix != ".txt")
    broken = [row for row in every if row["error"]]
    assert [row["path"].rsplit("/")[-1] for row in broken] == ["broken.jpg", "cut.jpg"]
    assert all(set(row.values()) == {row["path"], row["error"], ""} for row in broken)
    written = json.loads((tmp_path / "a.json").read_text())
    assert written["score"] == "KNN (K=7)"
    for row, same in zip(every, written["images"], strict=True):
        assert same.keys() == {name for name, value in row.items() if value}
        assert same["path"] == row["path"] and (row["error"] or same["score"] == pytest.approx(float(row["score"])))
    rows = [row for row in every if not row["error"]]
    assert len(rows) == 17 and [row["path"] for row in rows] == sorted(row["path"] for row in rows)
    threshold = load_detector(evaluated[0], device="cpu").threshold(0.95)
    for row in rows:
        assert row["id_or_ood"] == ("ID" if float(row["score"]) >= threshold else "OOD")
        assert row["nearest_class"] in "012345" and 1 / 6 <= float(row["probability"]) <= 1
    counts = Counter(row["id_or_ood"] for row in rows)
    assert f"17 images: {counts['ID']} ID, {counts['OOD']} OOD" in out and "2 not readable" in out
    assert "broken.jpg" in err and "cut.jpg" in err and "notes.txt" in err
    sheet = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).reshape(-1, 3)
    assert (sheet == (0x2E, 0x9E, 0x5B)).all(1).any() == (counts["ID"] > 0)
    # scores of one image do not depend on the others of its batch
    status, out, _ = run_detect("--ckpt", evaluated[0], "--images", images / "known" / "004.png")
    assert status == 0 and "1 images" in out
    alone = load_detector(evaluated[0], device="cpu").score(images / "known" / "004.png").item()
    assert alone == pytest.approx(float(rows[[r["path"].endswith("004.png") for r in rows].index(True)]["score"]), 1e-4)


def test_thresholds_of_the_command_line(evaluated, tmp_path):
    write_png(tmp_path / "images", id_digits()[1][0][:40])
    common = ("--ckpt", evaluated[0], "--images", tmp_path / "images", "--csv", tmp_path / "a.csv")
    counts = []
    for chosen in (("--id-recall", 1), ("--id-recall", 0.5), ("--threshold", 1), ("--threshold", -5)):
        status, _, err = run_detect(*common, *chosen)
        assert status == 0, err
        counts.append(Counter(row["id_or_ood"] for row in read_csv(tmp_path / "a.csv"))["ID"])
    assert counts[0] == 40 and 0 < counts[1] < 40 and counts[2:] == [0, 40]


def test_a_collapsed_network_is_said_to_be_one(evaluated, checkpoint, tmp_path):
    """By its ID accuracy, of an evaluation or of --fit, as by its prototypes."""
    images = ("--images", tmp_path / "id" / "0")
    (train, labels), _ = id_digits()
    for number in range(6):
        write_png(tmp_path / "id" / str(number), train[labels == number][:10])
    assert "COLLAPSED" not in run_detect("--ckpt", evaluated[0], *images)[2]
    place = tmp_path / "bad.npz"
    save_reference(place, replace(load_reference(reference_path(evaluated[0])), id_accuracy=0.2))
    found = run_detect("--ckpt", evaluated[0], "--reference", place, *images)
    assert found[0] == 0 and "COLLAPSED: ID accuracy is 20.0 %, where guessing gives 16.7 %" in found[2]
    content = torch.load(checkpoint, weights_only=True)
    content["dis_state_dict"]["prototypes"][:] = content["dis_state_dict"]["prototypes"][:1].clone()
    save(content, tmp_path / "same.pth.tar")
    found = run_detect("--ckpt", tmp_path / "same.pth.tar", "--fit", tmp_path / "id", "--K", 3, *images)
    assert found[0] == 0 and "6 of 6 classes share their prototype" in found[2]
    assert 0.5 < load_reference(reference_path(tmp_path / "same.pth.tar")).id_accuracy <= 1


def test_fit_holds_out_a_seeded_fifth_that_is_not_in_the_bank(checkpoint, tmp_path):
    (train, labels), _ = id_digits()
    for number in range(6):
        write_png(tmp_path / "id" / str(number), train[labels == number][:10])
    place = tmp_path / "own.npz"
    common = ("--ckpt", checkpoint, "--fit", tmp_path / "id", "--reference", place, "--K", 3)
    status, out, err = run_detect(*common, "--seed", 1)
    assert status == 0 and "48 images to compare with, 12 held out" in out, err
    first = load_reference(place)
    assert (first.mean, first.std, first.size) == (INPUT["mean"], INPUT["std"], 32)
    assert first.bank_labels.bincount().tolist() == [8] * 6 and first.class_names == tuple("012345")
    detector = load_detector(checkpoint, reference=place, device="cpu")
    paths = sorted((tmp_path / "id").rglob("*.png"))
    # A score of 0 at K = 1 would be an image that meets itself.
    bank = F.normalize(first.bank, dim=1)
    detector._fitted = lambda outputs, images: knn_score(bank, F.normalize(outputs["penultimate"], dim=1), 1)
    assert int((detector.score(paths) > -1e-6).sum()) == 48
    run_detect(*common, "--seed", 1)
    assert torch.equal(load_reference(place).id_scores["knn"], first.id_scores["knn"])
    run_detect(*common, "--seed", 2)
    assert not torch.equal(load_reference(place).id_scores["knn"], first.id_scores["knn"])
    status, out, _ = run_detect(*common, "--images", tmp_path / "id" / "0")
    assert status == 0 and "10 images" in out


def test_class_folders_are_matched_by_name(checkpoint, tmp_path):
    (train, labels), _ = id_digits()
    for number in range(3):
        write_png(tmp_path / "id" / str(number), train[labels == number][:10])
    content = torch.load(checkpoint, weights_only=True)
    path = tmp_path / "turned.pth.tar"
    save(content | {"class_names": list("543210")}, path)
    fit = ("--ckpt", path, "--fit", tmp_path / "id", "--K", 2)
    assert run_detect(*fit)[0] == 0
    assert load_reference(reference_path(path)).bank_labels.bincount().tolist() == [0, 0, 0, 8, 8, 8]
    assert load_detector(path, device="cpu").class_names == tuple("543210")
    (tmp_path / "id" / "2").rename(tmp_path / "id" / "two")
    status, _, err = run_detect(*fit)
    assert status == 0 and "no classes of the checkpoint (two; it has 5, 4, 3, 2, 1, 0)" in err
    assert load_reference(reference_path(path)).bank_labels is None


def test_official_files_work_with_fit(tmp_path):
    torch.manual_seed(0)
    model = CIDERNet("resnet18", num_classes=3, width=8)
    vos = VOSNet("wrn-40-2", num_classes=3)
    write_images(tmp_path / "id", 12)
    torch.save({"epoch": 5, "state_dict": model.state_dict()}, tmp_path / "cider.pth.tar")
    torch.save({f"module.{name}": value for name, value in vos.state_dict().items()}, tmp_path / "vos.pt")
    of_supcontrast = {name: value for name, value in model.state_dict().items() if not name.startswith("fc.")}
    torch.save({"model": of_supcontrast, "epoch": 5}, tmp_path / "supcon.pth")  # says nothing of its classes
    fits = (
        ("cider.pth.tar", "KNN (K=4)", ()),
        ("supcon.pth", "KNN (K=4)", ()),
        ("vos.pt", "odin", ("--score", "odin")),
        ("vos.pt", "energy", ()),
    )
    for name, shown, score in fits:
        path = tmp_path / name
        images = ("--images", tmp_path / "id", "--csv", tmp_path / "a.csv")
        status, out, err = run_detect("--ckpt", path, "--fit", tmp_path / "id", "--K", 4, *images, *score)
        assert status == 0, err
        assert f"{shown} score" in out and "2 images only" in err
        assert {row["probability"] for row in read_csv(tmp_path / "a.csv")} == {""}
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    refused = {"gmm": "classes of the ID images, which nobody has said", "odin": "images that the threshold comes from"}
    for score in ("msp", "klm", "gmm", "odin"):
        with pytest.raises(UserError, match=refused[score]) if score in refused else nullcontext():
            found = load_detector(tmp_path / "vos.pt", device="cpu", score=score).score(images)
            assert found.shape == (3,) and found.isfinite().all()
            assert score != "msp" or (found > 0).all() and (found < 1).all()
    detector = load_detector(tmp_path / "vos.pt", device="cpu")
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (detector.reference.mean, detector.reference.std))
    with torch.no_grad():
        logits = vos.eval()((images.float() / 255 - mean) / std)
    torch.testing.assert_close(detector.score(images), logits.logsumexp(1), rtol=1e-4, atol=1e-4)


def test_mistakes_are_answered(checkpoint, evaluated, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    write_images(tmp_path / "images", 2)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"x")
    good = evaluated[0]
    cases = [
        (("--ckpt", checkpoint, "--images", tmp_path / "images"), 1, "eval_cider.py --ckpt"),
        (("--ckpt", good, "--images", empty), 1, "no images found"),
        (("--ckpt", good, "--images", tmp_path / "nowhere"), 1, "nowhere"),
        (("--ckpt", good, "--images", tmp_path / "bad"), 1, "none of 1 images can be read"),
        (("--ckpt", tmp_path / "none.pt", "--images", tmp_path / "images"), 1, "none.pt"),
        (("--ckpt", good, "--images", empty, "--csv", good / "x.csv"), 1, "nothing can be written"),
        (("--ckpt", good, "--fit", empty, "--reference", good / "x.npz"), 1, "nothing can be written"),
        (("--ckpt", good, "--fit", empty, "--reference", good / "x.npz"), 1, "pass --reference FILE"),
        (("--ckpt", good, "--fit", tmp_path / "images"), 1, "too few"),
        (("--ckpt", good), 2, "--images"),
        (("--ckpt", good, "--images", empty, "--csv", "x", "--json", "x"), 2, "both x; give one of them another name"),
        (("--ckpt", good, "--images", empty, "--K", 3), 2, "--fit"),
        (("--ckpt", good, "--images", empty, "--sheet", "a.jpg"), 2, ".png"),
        (("--ckpt", good, "--images", empty, "--csv", tmp_path), 2, "is a folder"),
        (("--ckpt", good, "--images", empty, "--id-recall", 95), 2, "95 is not a number from 0 to 1"),
        (("--ckpt", good, "--images", empty, "--id-recall", 0.9, "--threshold", 0), 2, "not allowed with"),
        (("--ckpt", good, "--images", empty, "--threshold", "nan"), 2, "not a finite number"),
        (("--ckpt", good, "--images", empty, "--score", "gram"), 2, "activations of every layer"),
        (("--ckpt", good, "--images", tmp_path / "images", "--score", "energy"), 1, "needs a trained classifier"),
    ]
    for arguments, status, said in cases:
        found, _, err = run_detect(*arguments)
        assert found == status and said in err, (arguments, err)


def test_statistics_are_matched_to_the_checkpoint_and_checked(copied, tmp_path):
    place, other = reference_path(copied), tmp_path / "other.npz"
    content, reference = place.read_bytes(), load_reference(place)
    save_reference(other, replace(reference, checkpoint_sha256="0" * 64))
    with pytest.raises(UserError, match="belongs to another checkpoint"):
        load_detector(copied, reference=other)
    for damaged in (content[: len(content) // 2], content[:3000] + b"\xff" * 64 + content[3064:], b"", b"text"):
        place.write_bytes(damaged)
        with pytest.raises(UserError, match="damaged"):
            load_detector(copied)
    for change in ({"score": "magic"}, {"bank": torch.full((7, 512), torch.inf)}):
        save_reference(other, replace(reference, **change))
        with pytest.raises(UserError, match="damaged"):
            load_reference(other)
    with open(other, "wb") as stream:  # a bank of 40 MB in a few kilobytes
        np.savez_compressed(stream, about=np.array("{}"), bank=np.zeros((100_000, 100), np.float32))
    with pytest.raises(UserError, match=r"bytes and says that it holds 40,\d{3},\d{3}"):
        load_reference(other)


def test_statistics_of_an_earlier_version_are_to_be_made_anew(copied):
    np.savez(open(reference_path(copied), "wb"), about=np.array('{"format": "ood reference statistics 1"}'))
    with pytest.raises(UserError, match=r"another version .*\n.*--fit FOLDER"):
        load_detector(copied)


def test_an_evaluation_goes_on_where_the_statistics_cannot_be_written(copied, tmp_path):
    reference_path(copied).unlink()
    reference_path(copied).mkdir()
    arguments = ("--ckpt", copied, "--ood-sets", "uniform-noise", "--no-plots", "--out", tmp_path / "again")
    status, out, err = call("eval_cider.py", *arguments)
    assert status == 0 and "uniform-noise" in out
    assert "warning: the reference statistics for detect.py could not be written" in err


def test_the_stream_holds_two_batches_at_most(tmp_path, monkeypatch):
    write_images(tmp_path, 23, (8, 8))
    paths = tuple(sorted(tmp_path.iterdir()))
    opened = []
    monkeypatch.setattr("utils.detection.files.open_rgb", lambda path: opened.append(path) or Image.open(path))
    for number, batch in enumerate(decode_stream(paths, 8, batch_size=5, threads=3), start=1):
        assert len(opened) <= 5 * (number + 1)
        assert tuple(path for path, _ in batch) == paths[5 * (number - 1) : 5 * number]
        for path, pixels in batch:
            np.testing.assert_array_equal(pixels, np.asarray(Image.open(path)).transpose(2, 0, 1))
    assert number == 5


@pytest.mark.parametrize(
    ("accepted", "rejected", "limit", "shown"),
    [(5, 3, 72, (5, 3)), (1000, 1000, 72, (36, 36)), (10_000, 4, 72, (68, 4)), (9_000, 1_000, 72, (54, 18)),
     (0, 100, 72, (0, 72)), (100, 0, 72, (72, 0)), (3, 500, 8, (2, 6)), (5, 5, 1, (0, 1))],
)  # fmt: skip
def test_the_sheet_shows_both_ends_of_each_ranking(accepted, rejected, limit, shown):
    picked = pick_rows(accepted, rejected, limit)
    assert sum(map(len, picked)) == min(limit, accepted + rejected)
    assert tuple(map(len, picked)) == shown
    for rows, count in zip(picked, (accepted, rejected), strict=True):
        assert len(set(rows)) == len(rows)
        if len(rows) > 1:
            assert rows[0] == 0 and rows[-1] == count - 1


def test_a_sheet_takes_names_of_any_length_and_script(tmp_path):
    pixels = np.zeros((112, 112, 3), np.uint8)
    pictures = [Picture(pixels, (f"{-0.5:.4f}", "x" * 300, "line\nbreak")), Picture(pixels, ("1", "Ünïcode"))]
    groups = [Group("ID", "", "#00FF00", pictures), Group("", "", "", ())]
    draw_contact_sheet(tmp_path / "a.png", "t" * 500, "s", groups)
    with Image.open(tmp_path / "a.png") as sheet:
        assert sheet.format == "PNG" and sheet.width < 1000


def test_statistics_that_a_file_does_not_say_are_not_guessed(tmp_path):
    path = write_checkpoint(tmp_path / "checkpoint_1.pth.tar", in_dataset="digits")
    with pytest.raises(UserError, match="does not say how its images were normalised"):
        input_format(load_checkpoint(path))
