"""The same networks in the files of other code: read under any of their names, with what those files leave out."""

import argparse

import numpy as np
import pytest
import torch

from models.cider import CIDERNet
from models.vos import VOSNet
from utils.checkpoint import load_checkpoint
from utils.errors import UserError

IMAGES = torch.rand(2, 3, 32, 32)


@pytest.fixture(scope="module")
def contrastive():
    torch.manual_seed(0)
    return CIDERNet(width=8, feat_dim=4, num_classes=10).eval()


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(1)
    return VOSNet("resnet18", width=8, num_classes=10, uncertainty=False).eval()


def renamed(model, *changes, without=()):
    """The model's weights, with parts of their names replaced in turn."""
    weights = {}
    for name, value in model.state_dict().items():
        if not name.startswith(tuple(without)):
            for old, new in changes:
                name = name.replace(old, new)
            weights[name] = value
    return weights


def loaded(content, folder):
    torch.save(content, folder / "x.pth")
    return load_checkpoint(folder / "x.pth")


@pytest.mark.parametrize(
    "changes",
    [
        [("encoder.", "module.encoder.")],
        [("encoder.", "encoder.module."), ("fc.", "module.module.fc."), ("head.", "_orig_mod.head.")],
        [("", "")],
        [("layer1.", "layer1._orig_mod.module._orig_mod.")],
    ],
)
@pytest.mark.parametrize("outer", ["", "module.", "_orig_mod.module.", "module._orig_mod.module."])
def test_wrappers_leave_their_names_anywhere(tmp_path, contrastive, changes, outer):
    weights = {outer + name: value for name, value in renamed(contrastive, *changes).items()}
    found = loaded({"state_dict": weights, "epoch": None}, tmp_path)
    assert torch.equal(found.model(IMAGES), contrastive(IMAGES))
    assert (found.method.name, found.epoch, found.args) == ("cider", 0, {})


def test_two_weights_of_one_name_are_refused(tmp_path, contrastive):
    weights = contrastive.state_dict()
    with pytest.raises(UserError, match=r"two of its weights are called fc\.bias"):
        loaded({"model": weights | {"module.fc.bias": weights["fc.bias"] + 1}}, tmp_path)


def test_counters_of_batches_may_be_missing(tmp_path, contrastive, classifier):
    for model in (contrastive, classifier):
        weights = {name: value for name, value in renamed(model).items() if "num_batches_tracked" not in name}
        assert len(weights) < len(model.state_dict())
        assert torch.equal(loaded(weights, tmp_path).model(IMAGES), model(IMAGES))


@pytest.mark.parametrize(("dataset", "mean", "std"), [("cifar10", 0.4914, 0.2023), ("cifar100", 0.5071, 0.2675)])
def test_files_of_supcontrast(tmp_path, contrastive, dataset, mean, std):
    options = argparse.Namespace(method="SupCon", dataset=dataset, temp=0.07, lr_decay_epochs=[700], size=np.int64(32))
    options.warmup_to = np.float64(0.5)
    weights = renamed(contrastive, ("encoder.", "encoder.module."), without=["fc."])
    found = loaded({"opt": options, "model": weights, "optimizer": {"state": {}}, "epoch": 1000}, tmp_path)
    assert torch.equal(found.model(IMAGES), contrastive(IMAGES))
    assert (found.method.name, found.epoch, found.model.config["num_classes"]) == ("supcon", 1000, 0)
    assert found.args["input"]["mean"][0] == mean and found.args["input"]["std"][0] == std
    assert found.model.outputs(IMAGES)["logits"].shape == (2, 0)


def test_supcontrast_on_a_folder_says_its_normalisation_as_text(tmp_path, contrastive):
    weights = renamed(contrastive, without=["fc."])
    options = argparse.Namespace(method="SupCon", dataset="path", mean="(0.1, 0.2, 0.3)", std="(0.5, 0.5, 0.5)")
    found = loaded({"opt": options, "model": weights}, tmp_path)
    assert found.args["input"] == {"size": 32, "mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5]}
    options.mean = "half"
    with pytest.raises(UserError, match="does not hold"):
        loaded({"opt": options, "model": weights}, tmp_path)


def test_a_method_that_is_not_known_here_is_named(tmp_path, contrastive):
    options = argparse.Namespace(method="SimCLR", dataset="cifar10")
    with pytest.raises(UserError, match="trained by the method 'simclr'; known are cider, supcon, palm, ce"):
        loaded({"opt": options, "model": renamed(contrastive, without=["fc."])}, tmp_path)


@pytest.mark.parametrize(
    ("changes", "without", "method", "std"),
    [
        ([("encoder.", ""), ("shortcut", "downsample")], [], "supcon", 0.2023),  # knn-ood
        ([("encoder.", "backbone.")], ["fc."], "cider", None),  # OpenOOD
        ([("encoder.", "backbone.module.")], ["fc."], "cider", None),
    ],
)
def test_contrastive_networks_under_other_names(tmp_path, contrastive, changes, without, method, std):
    found = loaded({"state_dict": renamed(contrastive, *changes, without=without)}, tmp_path)
    assert torch.equal(found.model(IMAGES), contrastive(IMAGES))
    assert found.method.name == method
    assert found.args.get("input", {"std": [None]})["std"][0] == std


@pytest.mark.parametrize(
    ("change", "std"),
    [
        ("", 0.2470),  # OpenOOD's networks have the names that ours has
        ("backbone.", 0.2470),
        ("encoder.", None),  # SupContrast's cross-entropy, which says its set in its options only
    ],
)
def test_classifiers_under_other_names(tmp_path, classifier, change, std):
    found = loaded({change + name: value for name, value in classifier.state_dict().items()}, tmp_path)
    assert isinstance(found.model, VOSNet) and torch.equal(found.model(IMAGES), classifier(IMAGES))
    assert (found.method.name, found.method.score, found.model.energy) == ("ce", "energy", None)
    assert found.model.config["arch"] == "resnet18" and found.model.config["width"] == 8
    assert found.args.get("input", {"std": [None]})["std"][0] == std


def test_cross_entropy_of_knn_ood(tmp_path, classifier):
    found = loaded({"epoch": 100, "state_dict": renamed(classifier, ("shortcut", "downsample"))}, tmp_path)
    assert torch.equal(found.model(IMAGES), classifier(IMAGES))
    assert found.args["input"]["std"][0] == 0.2023


@pytest.mark.parametrize("arch", ["resnet34", "resnet50"])
def test_other_resnets_are_recognised(tmp_path, arch):
    model = VOSNet(arch, width=8, num_classes=7, uncertainty=False).eval()
    found = loaded(model.state_dict(), tmp_path)
    assert found.model.config["arch"] == arch and torch.equal(found.model(IMAGES), model(IMAGES))


def test_what_is_admitted_is_no_way_in(tmp_path):
    """numpy's numbers are answered by stand-ins: no object, no forged type."""
    for value in (np.array(None).reshape(()), np.zeros(2), np.dtype("O"), np.dtype([("a", "O")])):
        torch.save({"state_dict": {}, "opt": value}, tmp_path / "x.pt")
        with pytest.raises(UserError, match=r"x\.pt"):
            load_checkpoint(tmp_path / "x.pt")


def test_every_flipped_bit_in_a_file_of_other_code_is_noticed(tmp_path, contrastive):
    path = tmp_path / "x.pt"
    torch.save({"state_dict": contrastive.state_dict(), "epoch": 500}, path)
    whole = path.read_bytes()
    expected = contrastive(IMAGES)
    rng = np.random.default_rng(0)
    refused = 0
    for place in rng.integers(0, len(whole), 60):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << int(rng.integers(8))]) + whole[place + 1 :])
        try:
            # What changes nothing, such as a bit of the padding between the records, may pass.
            assert torch.equal(load_checkpoint(path).model(IMAGES), expected)
        except UserError:
            refused += 1
    assert refused > 50


def test_a_network_without_a_classifier_is_evaluated_like_any_other(tmp_path, contrastive, run_eval):
    options = argparse.Namespace(method="SupCon", dataset="path", mean="(0.3, 0.3, 0.3)", std="(0.4, 0.4, 0.4)")
    torch.save({"opt": options, "model": renamed(contrastive, without=["fc."]), "epoch": 9}, tmp_path / "last.pth")
    command = ("--ckpt", tmp_path / "last.pth", "--in-dataset", "digits", "--out", tmp_path / "out", "--no-plots")
    status, printed, err = run_eval(*command, "--ood-sets", "uniform-noise")
    assert status == 0, err
    assert printed.startswith("SupCon  ResNet-18 (width 8)  digits   score: KNN (K=5)")
    assert "ID accuracy: KNN" in printed
    status, _, err = run_eval(*command, "--score", "msp")
    assert status == 1 and "leaves fc as it was drawn" in err
