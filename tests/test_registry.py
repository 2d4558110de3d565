"""Every score by name: what it needs, that it runs on a digits checkpoint or is refused there, its orientation."""

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models.cider import CIDERNet
from models.vos import VOSNet
from utils.checkpoint import official_format, save
from utils.data.digits import id_digits
from utils.data.id_sets import load_id
from utils.data.images import TensorImages
from utils.detection.detector import load_detector
from utils.errors import UserError, WrongUsage
from utils.evaluation.features import Features, extract
from utils.evaluation.linear_probe import cached_batches, train_probe
from utils.evaluation.pytorch_ood_scores import DETECTORS, NOT_OFFERED
from utils.evaluation.registry import SCORES, check_names, chosen_scores
from utils.evaluation.score_parts import Ingredients

CPU = torch.device("cpu")
WITHOUT_CLASSIFIER = {"knn", "maha", "maha++", "maha-official", "ssd", "prototype", "rmd", "rmd++", "gmm"}
OF_OTHERS = {"sigmoid-energy", "logistic", "discrepancy"}  # what VOS and MCD train beside a classifier


def made_features(seed, count, classes=3, spread=0.3):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    rows = (3 * torch.eye(classes, 8)[labels] + spread * torch.randn(count, 8, generator=generator)).relu()
    outputs = {"penultimate": rows, "embedding": F.normalize(rows, dim=1), "logits": 2 * rows[:, :classes]}
    outputs["logits2"] = outputs["logits"] / 2  # of a second head, as MCD has it
    return Features(outputs, labels)


@pytest.fixture(scope="module")
def everything():
    """Ingredients from which every score can be made: the classifier is twice the first three features."""
    torch.manual_seed(0)
    classifier = nn.Linear(8, 3)
    with torch.no_grad():
        classifier.weight.copy_(2 * torch.eye(3, 8))
        classifier.bias.zero_()
    model = VOSNet("resnet18", 3, width=8).eval()
    model.head2 = nn.Linear(8, 3)
    return Ingredients(3, 5, CPU, classifier, torch.eye(3, 8), model, (0.5,) * 3, (0.25,) * 3)


@pytest.mark.parametrize("name", SCORES)
def test_every_score_runs_on_its_ingredients_and_prefers_id(name, everything):
    train, test, ood = made_features(0, 90), made_features(1, 30), made_features(2, 31, spread=2.5)
    images = {
        len(set_.labels): TensorImages("x", torch.randint(0, 256, (len(set_.labels), 3, 8, 8), dtype=torch.uint8))
        for set_ in (test, ood)
    }
    fitted = SCORES[name].fit(train, everything)
    id_scores, ood_scores = (fitted(set_.outputs, images[len(set_.labels)]) for set_ in (test, ood))
    assert id_scores.shape == (30,) and ood_scores.shape == (31,)
    for scores in (id_scores, ood_scores):
        assert scores.isfinite().all() and not scores.requires_grad and scores.device == CPU
    if name in WITHOUT_CLASSIFIER:
        assert (id_scores[:, None] > ood_scores).double().mean() > 0.8


def test_detectors_of_pytorch_ood_are_turned_round(everything):
    import pytorch_ood.detector as library

    train, test = made_features(0, 90), made_features(1, 1100, spread=2)  # more than one block
    logits, rows = test.outputs["logits"], test.outputs["penultimate"]
    head = everything.classifier
    expected = {
        "maxlogit": library.MaxLogit(None).predict_logits(logits),
        "gen": library.GEN(None).predict_logits(logits),
        "energy": library.EnergyBased(None).predict_logits(logits),
        "nnguide": library.NNGuide(None, head).fit_features(train.outputs["penultimate"], train.labels)
        .predict_features(rows),
        "react": library.ReAct(nn.Identity(), head).fit_feature_maps(train.outputs["penultimate"], train.labels)
        .predict_feature_maps(rows),
    }  # fmt: skip
    for name, scores in expected.items():
        found = SCORES[name].fit(train, everything)(test.outputs, None)
        torch.testing.assert_close(found, -scores.detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", SCORES)
def test_a_score_does_not_depend_on_the_other_images(name, everything):
    fitted = SCORES[name].fit(made_features(0, 90), everything)
    test = made_features(1, 12, spread=2)
    images = TensorImages("x", torch.randint(0, 256, (12, 3, 8, 8), dtype=torch.uint8))
    whole = fitted(test.outputs, images)
    parts = [
        fitted({output: values[i : i + 1] for output, values in test.outputs.items()}, images.subset([i]))
        for i in range(12)
    ]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-4, atol=1e-4, equal_nan=True)


def test_msp_ranks_as_the_library_does(everything):
    import pytorch_ood.detector as library

    train, test = made_features(0, 90), made_features(1, 60, spread=2)
    found = SCORES["msp"].fit(train, everything)(test.outputs, None)
    theirs = -library.MaxSoftmax(None).predict_logits(test.outputs["logits"])
    torch.testing.assert_close(found.sigmoid(), theirs)


def test_odin_sees_the_images_as_the_network_does(everything):
    import pytorch_ood.detector as library

    images = torch.randint(0, 256, (9, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = SCORES["odin"].fit(made_features(0, 30), everything)({}, TensorImages("x", images))
    detector = library.ODIN(everything.model, norm_std=[0.25] * 3)
    torch.testing.assert_close(found, -detector.predict((images / 255 - 0.5) / 0.25))


def test_what_a_checkpoint_lacks_is_said(everything):
    cider = Ingredients(3, 5, CPU, prototypes=torch.eye(3, 8), model=CIDERNet(width=8))
    scores, left_out = chosen_scores(["all"], cider, "CIDER")
    assert {score.name for score in scores} == WITHOUT_CLASSIFIER
    assert len(left_out) == 1 and "CIDER leaves fc as it was drawn" in left_out[0]
    for name in SCORES.keys() - WITHOUT_CLASSIFIER:
        with pytest.raises(UserError, match=f"--score {name} needs a trained classifier"):
            chosen_scores(["knn", name], cider, "CIDER")
    baseline = Ingredients(3, 5, CPU, classifier=everything.classifier, model=CIDERNet(width=8))
    with pytest.raises(UserError, match="--score prototype needs prototypes"):
        chosen_scores(["prototype"], baseline, "Cross-entropy")
    with pytest.raises(UserError, match="--score logistic needs the energy weights"):
        chosen_scores(["logistic"], baseline, "Cross-entropy")
    assert [score.name for score in chosen_scores(["ssd", "knn", "ssd"], cider, "CIDER")[0]] == ["ssd", "knn"]


def test_no_detector_of_the_library_is_forgotten():
    from pytorch_ood import detector

    offered = {"KNN", "Mahalanobis", "RMD", "EnergyBased", "MaxSoftmax", *(made[0] for made in DETECTORS.values())}
    others = {"MCD", "MCM", "Gram", "RankFeat", "MultiMahalanobis", "MahalanobisODIN", "NACUE", "WeightedEBO"}
    classes = {name for name, value in vars(detector).items() if isinstance(value, type) and hasattr(value, "predict")}
    assert classes == offered | others
    assert len(NOT_OFFERED) == len(others) + 1  # and mahalanobis, which is ours under another name
    for name in NOT_OFFERED:
        with pytest.raises(WrongUsage, match="there is no score"):
            check_names(["knn", name])


@pytest.fixture(scope="module")
def digits_checkpoints(tmp_path_factory):
    """A cross-entropy and a CIDER checkpoint on digits; the classifier is trained, the encoder is as it was drawn."""
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    model = CIDERNet("resnet18", num_classes=6, width=8).eval()
    data = load_id("digits", limit_train=120, seed=0)
    train = extract(model, data.train, mean=data.mean, std=data.std, device=CPU)
    rows = train.outputs["penultimate"]
    scale = 1 / float(rows.std())
    probe = train_probe(cached_batches(scale * rows, train.labels, seed=0), rows.shape[1], 6, seed=0, device=CPU)
    model.fc.load_state_dict({"weight": scale * probe.weight, "bias": probe.bias})
    for method in ("ce", "cider"):
        prototypes = F.normalize(torch.randn(6, 128), dim=1) if method == "cider" else None
        args = {"in_dataset": "digits", "limit_train": 120, "seed": 0}
        content = official_format(model, prototypes, method=method, epoch=1, args=args, class_names=data.class_names)
        (folder / method).mkdir()
        save(content, folder / method / "checkpoint_1.pth.tar")
    return folder


@pytest.mark.parametrize("method", ["ce", "cider"])
def test_every_listed_score_runs_on_a_digits_checkpoint_or_is_refused_there(
    method, digits_checkpoints, run_eval, tmp_path
):
    path = digits_checkpoints / method / "checkpoint_1.pth.tar"
    status, out, err = run_eval(
        "--ckpt", path, "--score", "all", "--out",
        tmp_path, "--no-plots", "--K-sweep", "1,5,20", "--K", "auto", "--ood-sets", "uniform-noise", "--linear-probe",
        "--positive", "ood", "--bootstrap", "20", "--projector",
    )  # fmt: skip
    assert status == 0, err
    missing = OF_OTHERS | {"prototype"} if method == "ce" else SCORES.keys() - WITHOUT_CLASSIFIER
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert found["scores"].keys() == SCORES.keys() - missing
    assert all(f"{name}," in err or f"{name}:" in err for name in missing)
    assert found["positive"] == "OOD" and "OOD is the positive class" in out
    assert found["ood"] == found["scores"]["knn"]["ood"] and found["k_sweep"].keys() == {"1", "5", "20"}
    low, high = found["ood"]["uniform-noise"]["bootstrap_95_percent"]["auroc"]
    assert low <= found["ood"]["uniform-noise"]["auroc"] <= high
    assert found["id_accuracy"].keys() >= {"knn", "linear_probe"} and "uniform-noise" in found["separability_degrees"]
    assert "no OOD test set was looked at" in out
    arrays = np.load(tmp_path / "scores.npz", allow_pickle=False)
    assert {"id", "ood/uniform-noise", "maha/id", "gmm/ood/uniform-noise"} <= set(arrays.files)
    for name in ("table", "k_sweep"):
        for suffix in ("txt", "md", "tex", "csv"):
            assert "KNN (K=" in (tmp_path / f"{name}.{suffix}").read_text()
    assert list((tmp_path / "projector").glob("events.*"))
    check_detectors(path, arrays, found["scores"])


def check_detectors(path, arrays, names):
    """The same scores, one batch at a time, from what the evaluation has left beside the checkpoint."""
    images = id_digits()[1][0][:20]
    for name in names:
        detector = load_detector(path, device="cpu", score=name, batch_size=8)
        expected = torch.from_numpy(arrays["id" if name == "knn" else f"{name}/id"])
        assert torch.equal(detector.id_scores, SCORES[name].display(expected))
        found = detector.score(images)
        tolerance = 1e-3 * float(detector.id_scores.abs().mean())
        torch.testing.assert_close(found, detector.id_scores[:20].to(found.dtype), rtol=1e-3, atol=tolerance)


def test_scores_are_listed_and_wrong_names_answered(run_eval):
    status, out, _ = run_eval("--list-scores")
    assert status == 0
    lines = {line.split()[0]: line for line in out.splitlines()[1:]}
    assert lines.keys() == SCORES.keys()
    assert "classifier + images" in lines["odin"] and "Reliability" in lines["odin"]
    for name, reason in (("gram", "activations of every layer"), ("nonsense", "unknown score nonsense; choose from")):
        status, _, err = run_eval("--name", "x", "--score", name)
        assert status == 2 and reason in err
