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
    return getattr(module, DETECTORS[name][0])


def _paper(name: str) -> str:
    paper = _detector(name).info.paper
    return "none: one Gaussian for each class" if paper is None else f"{paper.title} ({paper.venue} {paper.year})"


def _fit(name: str, train: Features, given: Ingredients) -> FittedScore:
    features = train.outputs["penultimate"]
    # The library leaves out what is labelled below 0; detectors that need the classes as such say so.
    labels = features.new_zeros(len(features), dtype=torch.int64) if train.labels is None else train.labels
    layer = given.classifier and copy.deepcopy(given.classifier).requires_grad_(False).to(given.device)
    return DETECTORS[name][1](_detector(name), train, labels, layer, given)


def _in_blocks(predict: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    return torch.cat([-predict(block).detach() for block in rows.split(ROWS)])


def _on_logits(make: type, train: Features, labels: Tensor, layer: nn.Linear, given: Ingredients) -> FittedScore:
    detector = make(model=None).to(given.device)
    detector.fit_logits(train.outputs["logits"], labels)
    # OpenMax takes a row to be at distance 0 of classes that no row of the block is predicted as.
    one_of_each = torch.eye(given.num_classes, device=given.device)

    def predict(rows: Tensor) -> Tensor:
        return detector.predict_logits(torch.cat([rows, one_of_each]))[: len(rows)]

    return lambda outputs, images: _in_blocks(predict, outputs["logits"])


def _on_features(settings: Callable[[nn.Linear, int], dict[str, Any]]) -> Callable[..., FittedScore]:
    """`settings`: the classifier and the length of its features -> what the detector is made with."""

    def fit(make: type, train: Features, labels: Tensor, layer: nn.Linear, given: Ingredients) -> FittedScore:
        features = train.outputs["penultimate"]
        detector = make(encoder=None, **settings(layer, features.shape[1]))
        detector.fit_features(features, labels)
        return lambda outputs, images: _in_blocks(detector.predict_features, outputs["penultimate"])

    return fit


def _on_maps(make: type, train: Features, labels: Tensor, layer: nn.Linear, given: Ingredients) -> FittedScore:
    """Detectors that shape a feature map (N, D, H, W) and go on with the rest of the network: here with H = W = 1."""
    detector = make(backbone=None, head=nn.Sequential(nn.Flatten(), layer))
    if detector.requires_fit:
        detector.fit_feature_maps(train.outputs["penultimate"][..., None, None], labels)
    return lambda outputs, images: _in_blocks(detector.predict_feature_maps, outputs["penultimate"][..., None, None])


def _by_weights(make: type, train: Features, labels: Tensor, layer: nn.Linear, given: Ingredients) -> FittedScore:
    """Gradients of the classifier's weight alone, as in the papers: the network before it is not needed."""
    detector = make(layer, param_filter=lambda parameter: parameter == "weight")
    return lambda outputs, images: _in_blocks(detector.predict, outputs["penultimate"])


def _by_images(make: type, train: Features, labels: Tensor, layer: nn.Linear, given: Ingredients) -> FittedScore:
    """Gradients of the whole network to the images."""
    detector = make(getattr(given.model, "logits", given.model), norm_std=list(given.std))
    normalised = normalisation(given.mean, given.std, given.device)

    def score(outputs: dict[str, Tensor], images: Any) -> Tensor:
        batches = images.batches(IMAGES, given.device, given.workers)
        return torch.cat([-detector.predict(normalised(batch)) for batch in batches])

    return score


def _weights(layer: nn.Linear) -> dict[str, Any]:
    return {"w": layer.weight, "b": layer.bias}


_with_head = _on_features(lambda layer, dim: {"head": layer})
# Half of the dimensions for ViM: 256 of 512, as OpenOOD has it for CIFAR. DICE's p is of its paper, for CIFAR.
_vim = _on_features(lambda layer, dim: {"d": dim // 2, **_weights(layer)})
_dice = _on_features(lambda layer, dim: {"p": 0.9, **_weights(layer)})
_LAYER, _CLASSES = ("classifier",), ("classifier", "labels")
# Name here -> class there, how it is fitted, what it needs.
DETECTORS = {
    "maxlogit": ("MaxLogit", _on_logits, _LAYER),
    "entropy": ("Entropy", _on_logits, _LAYER),
    "gen": ("GEN", _on_logits, _LAYER),
    "klm": ("KLMatching", _on_logits, _LAYER),
    "openmax": ("OpenMax", _on_logits, _CLASSES),
    "temperature-scaling": ("TemperatureScaling", _on_logits, _CLASSES),
    "odin": ("ODIN", _by_images, ("classifier", "images")),
    "gradnorm": ("GradNorm", _by_weights, _LAYER),
    "graduncertainty": ("GradUncertainty", _by_weights, _LAYER),
    "react": ("ReAct", _on_maps, _LAYER),
    "ash": ("ASH", _on_maps, _LAYER),
    "scale": ("SCALE", _on_maps, _LAYER),
    "vra": ("VRA", _on_maps, _LAYER),
    "lts": ("LTS", _with_head, _LAYER),
    "dice": ("DICE", _dice, _LAYER),
    "vim": ("ViM", _vim, _LAYER),
    "she": ("SHE", _with_head, _CLASSES),
    "nnguide": ("NNGuide", _with_head, _LAYER),
    "fdbd": ("fDBD", _with_head, _LAYER),
    "nci": ("NCI", _with_head, _LAYER),
    "pnml": ("PNML", _with_head, _LAYER),
    "gmm": ("GMM", _on_features(lambda layer, dim: {}), ("labels",)),
}
PYTORCH_OOD_SCORES = tuple(
    Score(name, name, partial(_paper, name), partial(_fit, name), needs) for name, (_, _, needs) in DETECTORS.items()
)
