"""The look at a network during training: against explicit loops, on images that its features are made of."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from utils.data.generated import gaussian_noise, uniform_noise
from utils.data.id_sets import load_id
from utils.data.images import TensorImages
from utils.evaluation.quick import quick_look


class Means(nn.Module):
    """Channel means of the four quarters of an image as features."""

    def outputs(self, x):
        features = F.adaptive_avg_pool2d(x, 2).flatten(1)
        return {"penultimate": features, "embedding": F.normalize(features - features.mean(1, keepdim=True), dim=1)}


@pytest.mark.parametrize("per_class", [1, 2])
def test_figures_and_cosines_equal_the_loops(per_class):
    data = load_id("digits")
    classes = len(data.class_names)
    data = replace(data, test=data.test.subset(range(0, len(data.test), 5)))
    prototypes = F.normalize(torch.randn(classes * per_class, 12, generator=torch.Generator().manual_seed(0)), dim=1)
    figures, cosines = quick_look(Means(), data, prototypes, torch.device("cpu"))

    def features(images):
        mean, std = (torch.tensor(each).view(3, 1, 1) for each in (data.mean, data.std))
        return Means().outputs((images.images / 255 - mean) / std)

    train, test = features(data.train), features(data.test)
    bank = F.normalize(train["penultimate"], dim=1)
    right = 0
    for row, (z, label) in enumerate(zip(F.normalize(test["penultimate"], dim=1), data.test.labels, strict=True)):
        votes = data.train.labels[(bank - z).norm(dim=1).argsort()[:20]].bincount(minlength=classes)
        right += bool(votes[label] == votes.max() and votes.argmax() == label)
        own = [float(test["embedding"][row] @ p) for j, p in enumerate(prototypes) if j % classes == label]
        others = [float(test["embedding"][row] @ p) for j, p in enumerate(prototypes) if j % classes != label]
        assert float(cosines["cosine/own-prototype"][row]) == pytest.approx(max(own), abs=1e-5)
        assert float(cosines["cosine/nearest-other"][row]) == pytest.approx(max(others), abs=1e-5)
    assert figures["id/knn_accuracy"] == pytest.approx(right / len(data.test), abs=2 / len(data.test))

    def distances(found):
        unit = F.normalize(found["penultimate"], dim=1)
        return torch.stack([(bank - z).norm(dim=1).sort().values[19] for z in unit])

    ids, aurocs = distances(test), []
    for make in (uniform_noise, gaussian_noise):
        noise = distances(features(TensorImages("noise", make(200, data.size, 1000))))
        aurocs.append(float((ids[:, None] < noise).float().mean()))
    assert figures["noise/auroc"] == pytest.approx(sum(aurocs) / 2, abs=1e-4)


def test_without_prototypes_there_are_no_cosines():
    figures, cosines = quick_look(Means(), load_id("digits"), None, torch.device("cpu"))
    assert figures.keys() == {"id/knn_accuracy", "noise/auroc"} and cosines == {}
