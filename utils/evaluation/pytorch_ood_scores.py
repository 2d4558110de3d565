"""Every other score: the detectors of pytorch-ood (Kirchheim et al.), which is loaded when one of them is asked for.

Its scores are larger for OOD; here they are turned round. Detectors that shape activations are applied to the pooled
penultimate features, since feature maps are not kept; detectors that were published with a setting for CIFAR have it.
"""

import copy
import importlib
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from utils.errors import UserError, one_line
from utils.evaluation.features import Features, normalisation
from utils.evaluation.score_parts import FittedScore, Ingredients, Score

ROWS = 512  # at once: some detectors hold (rows, C, D)
IMAGES = 128  # at once, with the activations that a gradient needs

# Detectors of the library that cannot be had here, by the names they are known by, and why.
NOT_OFFERED = {
    "mahalanobis": "it is maha here, and maha++ on normalised features",
    "mcd": "Monte-Carlo dropout needs dropout at test time, and CIDER's networks have none; the score of maximum "
    "classifier discrepancy is called discrepancy",
    "mcm": "it needs the text embeddings of a vision-language model",
    "gram": "it needs the activations of every layer, which are not kept",
    "rankfeat": "it needs feature maps, which are not kept",
    "mmahalanobis": "it needs the activations of several layers, which are not kept",
    "mahalanobis-odin": "it needs a threshold tuned on OOD data; maha is the distance without it",
    "nac": "it needs the activations of several layers, which are not kept",
    "webo": "it is sigmoid-energy here",
}


def _detector(name: str) -> type:
    try:
        module = importlib.import_module("pytorch_ood.detector")
    except ImportError as error:
        raise UserError(
            f"--score {name} is computed by pytorch-ood, which can not be loaded ({one_line(error)})\n"
            f"  get it by  : {sys.executable} -m pip install pytorch-ood==0.4.0"
        ) from error
    return getattr(module, CLASSES[name])


def _paper(name: str) -> str:
    paper = _detector(name).info.paper
    return "none: one Gaussian for each class" if paper is None else f"{paper.title} ({paper.venue} {paper.year})"


def _in_blocks(predict: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    return torch.cat([-predict(block).detach() for block in rows.split(ROWS)])


def _labels(train: Features) -> Tensor:
    # The library leaves out what is labelled below 0; detectors that need the classes as such say so.
    rows = train.outputs["penultimate"]
    return rows.new_zeros(len(rows), dtype=torch.int64) if train.labels is None else train.labels


def _on_logits(name: str, train: Features, given: Ingredients) -> FittedScore:
    detector = _detector(name)(model=None).to(given.device)
    detector.fit_logits(train.outputs["logits"], _labels(train))
    # OpenMax takes a row to be at distance 0 of classes that no row of the block is predicted as.
    one_of_each = torch.eye(given.num_classes, device=given.device)

    def predict(rows: Tensor) -> Tensor:
        return detector.predict_logits(torch.cat([rows, one_of_each]))[: len(rows)]

    return lambda outputs, images: _in_blocks(predict, outputs["logits"])


def _on_features(
    name: str, train: Features, given: Ingredients, *, settings: Callable[[Features, Ingredients], dict[str, Any]]
) -> FittedScore:
    detector = _detector(name)(encoder=None, **settings(train, given))
    detector.fit_features(train.outputs["penultimate"], _labels(train))
    return lambda outputs, images: _in_blocks(detector.predict_features, outputs["penultimate"])


def _on_maps(name: str, train: Features, given: Ingredients) -> FittedScore:
    """Detectors that shape a feature map (N, D, H, W) and go on with the rest of the network: here with H = W = 1."""
    detector = _detector(name)(backbone=None, head=nn.Sequential(nn.Flatten(), _classifier(given)))
    if detector.requires_fit:
        detector.fit_feature_maps(train.outputs["penultimate"][..., None, None], _labels(train))
    return lambda outputs, images: _in_blocks(detector.predict_feature_maps, outputs["penultimate"][..., None, None])


def _by_weight_gradients(name: str, train: Features, given: Ingredients) -> FittedScore:
    """Gradients of the classifier's weight alone, as in the papers: the network before it is not needed."""
    detector = _detector(name)(_classifier(given), param_filter=lambda parameter: parameter == "weight")
    return lambda outputs, images: _in_blocks(detector.predict, outputs["penultimate"])


def _by_image_gradients(name: str, train: Features, given: Ingredients) -> FittedScore:
    network = given.network
    detector = _detector(name)(network.logits, norm_std=list(network.std))
    normalised = normalisation(network.mean, network.std, given.device)

    def score(outputs: dict[str, Tensor], images: Any) -> Tensor:
        batches = images.batches(IMAGES, given.device, network.workers)
        return torch.cat([-detector.predict(normalised(batch)) for batch in batches])

    return score


def _classifier(given: Ingredients) -> nn.Linear:
    return copy.deepcopy(given.classifier).requires_grad_(False).to(given.device)


def _nothing(train: Features, given: Ingredients) -> dict[str, Any]:
    return {}


def _head(train: Features, given: Ingredients) -> dict[str, Any]:
    return {"head": _classifier(given)}


def _weights(train: Features, given: Ingredients) -> dict[str, Any]:
    layer = _classifier(given)
    return {"w": layer.weight, "b": layer.bias}


def _vim(train: Features, given: Ingredients) -> dict[str, Any]:
    # Half of the dimensions: 256 of 512, as OpenOOD has it for CIFAR.
    return {"d": train.outputs["penultimate"].shape[1] // 2, **_weights(train, given)}


def _dice(train: Features, given: Ingredients) -> dict[str, Any]:
    return {"p": 0.9, **_weights(train, given)}  # of the paper, for CIFAR


# Name here -> class there.
CLASSES = {
    "maxlogit": "MaxLogit",
    "entropy": "Entropy",
    "gen": "GEN",
    "klm": "KLMatching",
    "openmax": "OpenMax",
    "temperature-scaling": "TemperatureScaling",
    "odin": "ODIN",
    "gradnorm": "GradNorm",
    "graduncertainty": "GradUncertainty",
    "react": "ReAct",
    "ash": "ASH",
    "scale": "SCALE",
    "vra": "VRA",
    "lts": "LTS",
    "dice": "DICE",
    "vim": "ViM",
    "she": "SHE",
    "nnguide": "NNGuide",
    "fdbd": "fDBD",
    "nci": "NCI",
    "pnml": "PNML",
    "gmm": "GMM",
}
_FITS = {
    **dict.fromkeys(("maxlogit", "entropy", "gen", "klm", "openmax", "temperature-scaling"), _on_logits),
    **dict.fromkeys(("react", "ash", "scale", "vra"), _on_maps),
    **dict.fromkeys(("gradnorm", "graduncertainty"), _by_weight_gradients),
    "odin": _by_image_gradients,
    **dict.fromkeys(("lts", "she", "nnguide", "fdbd", "nci", "pnml"), partial(_on_features, settings=_head)),
    "gmm": partial(_on_features, settings=_nothing),
    "dice": partial(_on_features, settings=_dice),
    "vim": partial(_on_features, settings=_vim),
}
_OTHER_NEEDS = {
    **dict.fromkeys(("openmax", "temperature-scaling", "she"), ("classifier", "labels")),
    "gmm": ("labels",),
    "odin": ("classifier", "images"),
}
PYTORCH_OOD_SCORES = tuple(
    Score(name, name, partial(_paper, name), partial(_FITS[name], name), _OTHER_NEEDS.get(name, ("classifier",)))
    for name in CLASSES
)
