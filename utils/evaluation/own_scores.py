"""The scores that CIDER, VOS, MCD and their comparisons stand on, as entries of the registry."""

from functools import partial

from torch.nn import functional as F

from utils.evaluation.features import Features
from utils.evaluation.gaussians import fit_mahalanobis, fit_official_mahalanobis, fit_ssd
from utils.evaluation.logit_scores import logit_score, on_cpu
from utils.evaluation.score_parts import FittedScore, Ingredients, Score
from utils.evaluation.scores import knn_score, prototype_score


def _knn(train: Features, given: Ingredients) -> FittedScore:
    bank = F.normalize(train.outputs["penultimate"], dim=1)
    return FittedScore(
        f"KNN (K={given.k})",
        lambda outputs, images: knn_score(bank, F.normalize(outputs["penultimate"], dim=1), given.k),
    )


def _mahalanobis(train: Features, given: Ingredients) -> FittedScore:
    gaussians = fit_mahalanobis(train.outputs["penultimate"], train.labels, given.num_classes)
    return FittedScore("Mahalanobis", lambda outputs, images: gaussians.score(outputs["penultimate"]))


def _unit_mahalanobis(train: Features, given: Ingredients) -> FittedScore:
    gaussians = fit_mahalanobis(train.outputs["penultimate"], train.labels, given.num_classes, unit=True)
    return FittedScore("Mahalanobis++", lambda outputs, images: gaussians.score(outputs["penultimate"]))


def _official_mahalanobis(train: Features, given: Ingredients) -> FittedScore:
    gaussians = fit_official_mahalanobis(train.outputs["penultimate"], train.labels, given.num_classes)
    return FittedScore("Mahalanobis (official code)", lambda outputs, images: gaussians.score(outputs["penultimate"]))


def _ssd(train: Features, given: Ingredients) -> FittedScore:
    gaussian = fit_ssd(train.outputs["penultimate"])
    return FittedScore("SSD", lambda outputs, images: gaussian.score(outputs["penultimate"]))


def _prototype(train: Features, given: Ingredients) -> FittedScore:
    prototypes = given.prototypes.to(given.device)
    return FittedScore("prototype", lambda outputs, images: prototype_score(outputs["embedding"], prototypes))


def _of_logits(name: str, train: Features, given: Ingredients) -> FittedScore:
    score = logit_score(name, given.model, classifier_is_trained=given.classifier is not None)
    return FittedScore(score.shown, lambda outputs, images: score.score(on_cpu(outputs)), score.probability)


def _score(name, needs, paper, fit) -> Score:
    return Score(name, needs, lambda: paper, fit)


_VOS = "VOS: Learning What You Don't Know by Virtual Outlier Synthesis (ICLR 2022)"
OWN_SCORES = (
    _score("knn", (), "Out-of-Distribution Detection with Deep Nearest Neighbors (ICML 2022)", _knn),
    _score(
        "maha",
        (),
        "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks (NeurIPS 2018)",
        _mahalanobis,
    ),
    _score(
        "maha++", (), "Mahalanobis++: Improving OOD Detection via Feature Normalization (ICML 2025)", _unit_mahalanobis
    ),
    _score(
        "maha-official",
        (),
        "none: what the official CIDER code computes (covariance not within classes)",
        _official_mahalanobis,
    ),
    _score("ssd", (), "SSD: A Unified Framework for Self-Supervised Outlier Detection (ICLR 2021)", _ssd),
    _score("prototype", ("prototypes",), "none: largest cosine to a prototype of CIDER (ICLR 2023)", _prototype),
    _score(
        "energy",
        ("classifier",),
        "Energy-based Out-of-distribution Detection (NeurIPS 2020)",
        partial(_of_logits, "energy"),
    ),
    _score(
        "msp",
        ("classifier",),
        "A Baseline for Detecting Misclassified and Out-of-Distribution Examples in Neural Networks (ICLR 2017)",
        partial(_of_logits, "msp"),
    ),
    _score("sigmoid-energy", ("classifier", "energy weights"), _VOS, partial(_of_logits, "sigmoid-energy")),
    _score("logistic", ("classifier", "energy weights"), _VOS, partial(_of_logits, "logistic")),
    _score(
        "discrepancy",
        ("classifier", "two heads"),
        "Unsupervised Out-of-Distribution Detection by Maximum Classifier Discrepancy (ICCV 2019)",
        partial(_of_logits, "discrepancy"),
    ),
)
