"""An evaluation from features to files, and eval_cider.py as users call it."""

import json
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from models.cider import CIDERNet
from utils.checkpoint import Checkpoint
from utils.data.id_sets import load_id
from utils.data.ood_sets import load_ood
from utils.errors import UserError
from utils.evaluation.benchmark import BENCHMARKS
from utils.evaluation.evaluation import evaluate
from utils.evaluation.features import Features, extract
from utils.evaluation.metrics import ood_metrics, separability_degrees
from utils.evaluation.ood import OODImages, OODSets
from utils.evaluation.registry import SCORES
from utils.evaluation.run import evaluate_images
from utils.evaluation.score_parts import Ingredients
from utils.evaluation.scores import energy_score, knn_score
from utils.methods import METHODS


def made_features(seed, count, classes=3, spread=0.2):
    generator = torch.Generator().manual_seed(seed)
    centers = torch.eye(classes, 8)
    labels = torch.arange(count) % classes
    rows = 5 * (centers[labels] + spread * torch.randn(count, 8, generator=generator))
    return Features({"penultimate": rows, "embedding": F.normalize(rows, dim=1), "logits": rows[:, :classes]}, labels)


CPU = torch.device("cpu")


def evaluated(train, test, ood, names=("knn",), *, k=4, num_classes=3, **more):
    settings = {name: more.pop(name) for name in ("positive", "resamples", "images") if name in more}
    given = Ingredients(num_classes, k, CPU, **more)
    scores = [SCORES[name] for name in names]
    return evaluate(train, test, ood, scores=scores, given=given, **settings)


def test_scores_are_distances_of_normalised_penultimate_features():
    train, test, ood = made_features(0, 60), made_features(1, 12), Features(made_features(2, 9, spread=2).outputs, None)
    whole = evaluated(train, test, {"x": ood}, prototypes=torch.eye(3, 8))
    (found,) = whole.results
    bank = F.normalize(train.outputs["penultimate"].double(), dim=1)
    for scores, features in ((found.id_scores, test), (found.ood_scores["x"], ood)):
        rows = F.normalize(features.outputs["penultimate"].double(), dim=1)
        expected = [-sorted(((row - bank) ** 2).sum(1).tolist())[3] for row in rows]
        np.testing.assert_allclose(scores, expected, rtol=1e-4)
    assert whole.id_accuracy == {"knn": 1.0, "nearest_prototype": 1.0}
    assert found.ood_metrics["x"]["auroc"] > 0.9
    assert {"dispersion", "compactness", "head/dispersion", "head/compactness"} == whole.geometry.keys()


def test_several_scores_of_one_checkpoint():
    train, test, ood = made_features(0, 60), made_features(1, 12), Features(made_features(2, 9, spread=2).outputs, None)
    fc = torch.nn.Linear(8, 3)
    whole = evaluated(train, test, {"x": ood}, ("energy", "knn", "maha"), classifier=fc, resamples=50)
    assert [result.name for result in whole.results] == ["energy", "knn", "maha"]
    energy = whole.results[0]
    assert energy.id_scores.tolist() == energy_score(test.outputs["logits"]).tolist()
    assert energy.ood_metrics["x"] == ood_metrics(energy.id_scores, energy.ood_scores["x"])
    assert all(result.samples["x"]["auroc"].shape == (50,) for result in whole.results)
    assert whole.id_accuracy.keys() == {"knn", "nearest_prototype", "fc"}
    alone = evaluated(train, test, {"x": ood}).results[0]
    assert alone.samples is None and alone.ood_metrics == whole.results[1].ood_metrics


def test_ood_as_the_positive_class_changes_fpr95_alone():
    train, test, ood = made_features(0, 60), made_features(1, 40), made_features(2, 50, spread=0.3)
    usual, other = (
        evaluated(train, test, {"x": ood}, positive=positive).results[0].ood_metrics["x"] for positive in ("ID", "OOD")
    )
    assert usual["fpr95"] != other["fpr95"]
    assert {**usual, "fpr95": 0} == {**other, "fpr95": 0}


def test_separability_and_angles_use_class_means_of_id_train():
    train, test, ood = made_features(0, 60), made_features(1, 12), made_features(2, 9, spread=2)
    whole = evaluated(train, test, {"x": ood})
    rows = F.normalize(train.outputs["penultimate"].double(), dim=1)
    means = torch.stack([rows[train.labels == label].mean(0) for label in range(3)])
    expected = separability_degrees(test.outputs["penultimate"], ood.outputs["penultimate"], means)
    assert whole.separability == {"x": pytest.approx(expected, rel=1e-5)}
    first = F.normalize(ood.outputs["penultimate"][0].double(), dim=0)
    angles = [math.degrees(math.acos(float(first @ F.normalize(mean, dim=0)))) for mean in means]
    assert whole.angles["x"][0] == pytest.approx(min(angles), rel=1e-5)


def test_fc_counts_only_where_it_was_trained_and_prototypes_only_where_there_are_some():
    train, test = made_features(0, 60), made_features(1, 12)
    found = evaluated(train, test, {"x": test}, classifier=torch.nn.Linear(8, 3))
    assert found.id_accuracy == {"knn": 1.0, "nearest_prototype": None, "fc": 1.0}
    assert "head/dispersion" not in found.geometry


def test_what_cannot_be_evaluated_is_said():
    train, test = made_features(0, 60), made_features(1, 12)
    broken = made_features(2, 5)
    broken.outputs["penultimate"][1, 0] = torch.nan
    with pytest.raises(UserError, match="not finite for 1 of 5 images of broken"):
        evaluated(train, test, {"broken": broken})


def test_a_network_and_images_in_memory_are_evaluated_without_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = load_id("digits", limit_train=60)
    images = load_ood("uniform-noise", data)
    ood = OODSets((OODImages(images, images),))
    torch.manual_seed(0)
    model = CIDERNet("resnet18", num_classes=6, width=8).eval()
    checkpoint = Checkpoint(model, METHODS[0], 1, None, tmp_path / "none", "")
    found = evaluate_images(checkpoint, data, ood, BENCHMARKS["cider"], {"device": CPU}, scores=["knn", "ssd"], k=3)
    assert [result.name for result in found.results] == ["knn", "ssd"] and found.k == 3
    train, test, others = (
        F.normalize(extract(model, each, mean=data.mean, std=data.std, device=CPU).outputs["penultimate"], dim=1)
        for each in (data.train, data.test, images)
    )
    expected = ood_metrics(knn_score(train, test, 3), knn_score(train, others, 3))
    assert found.results[0].ood_metrics["uniform-noise"] == expected
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A checkpoint as the official code writes it: no metadata, `module.` before the names."""
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    model = CIDERNet("resnet18", num_classes=6, width=8)
    weights = {f"module.{name}": value for name, value in model.state_dict().items()}
    prototypes = F.normalize(torch.randn(6, 128), dim=1)
    run = folder / "digits" / "official"
    run.mkdir(parents=True)
    for epoch in (9, 10):
        content = {"epoch": epoch, "state_dict": weights, "dis_state_dict": {"prototypes": prototypes}}
        torch.save(content, run / f"checkpoint_{epoch}.pth.tar")
    return folder


def test_whole_command_writes_everything_and_goes_on_without_a_missing_set(run_eval, runs, tmp_path):
    ood = ("--ood-sets", "digits-6-9", "SVHN", "--ood-loc", tmp_path)
    arguments = ("--checkpoints", runs, "--in_dataset", "digits", "--name", "official", *ood)
    status, out, _ = run_eval(*arguments, "--out", tmp_path / "out")
    assert status == 0
    assert "epoch 10 " in out and "not evaluated: SVHN not found; looked for" in out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "metrics.json",
        "table.txt",
        "table.md",
        "table.tex",
        "table.csv",
        "scores.npz",
        *(
            f"{name}.{form}"
            for name in ("histograms", "roc", "angles", "features_tsne", "prototypes")
            for form in ("png", "pdf")
        ),
    }
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert found["positive"] == "ID" and found["settings"]["ood_sets"] == ["digits-6-9", "SVHN"]
    assert len(found["checkpoint"]["sha256"]) == 64 and list(found["missing"]) == ["SVHN"]
    scores = np.load(tmp_path / "out" / "scores.npz", allow_pickle=False)
    assert len(scores["id"]) == found["id_images"]
    assert len(scores["ood/digits-6-9"]) == found["ood"]["digits-6-9"]["images"]

    status, _, _ = run_eval(*arguments, "--out", tmp_path / "again", "--no-cache", "--no-plots")
    assert status == 0
    repeated = json.loads((tmp_path / "again" / "metrics.json").read_text())
    assert all(repeated[part] == found[part] for part in ("ood", "mean", "id_accuracy", "geometry_degrees"))


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--name", "official", "--epoch", "7"), 1, "there are  : epochs 9, 10"),
        (("--name", "nobody"), 1, "checkpoint not found"),
        (("--ckpt", "none.pth.tar"), 1, "checkpoint not found"),
        (("--name", "official", "--ood-sets", "SVHN", "--ood_loc", "nowhere"), 1, "no OOD set was found"),
        (("--name", "official", "--K", "9999"), 1, "--K 9999 needs as many ID training images, but there are"),
        (("--name", "official", "--K-sweep", "1,9999"), 1, "--K-sweep 9999 needs"),
        (("--name", "official", "--model", "resnet34"), 2, "the checkpoint file says it"),
        ((), 2, "--name"),
    ],
)
def test_mistakes_are_answered(run_eval, runs, arguments, status, message):
    found, _, err = run_eval("--checkpoints", runs, "--in-dataset", "digits", *arguments)
    assert found == status
    assert message in err
