"""All scores by name. A new score is its formula and one entry here; a detector of pytorch-ood is one line there."""

from collections.abc import Callable, Iterable

from torch import Tensor
from torch.nn import functional as F

from utils.errors import UserError, WrongUsage
from utils.evaluation.features import Features
from utils.evaluation.gaussians import fit_mahalanobis, fit_official_mahalanobis, fit_relative_mahalanobis, fit_ssd
from utils.evaluation.knn_search import Bank
from utils.evaluation.pytorch_ood_scores import NOT_OFFERED, PYTORCH_OOD_SCORES
from utils.evaluation.score_parts import NEEDS, FittedScore, Ingredients, Score
from utils.evaluation.scores import (
    discrepancy_score,
    energy_score,
    logistic_score,
    msp_score,
    prototype_score,
)
from utils.losses import log_weighted_sum_exp


def _knn(train: Features, given: Ingredients) -> FittedScore:
    bank = Bank(train.unit)
    return lambda outputs, images: bank.search(F.normalize(outputs["penultimate"], dim=1), (given.k,)).scores[:, 0]


def _ssd(train: Features, given: Ingredients) -> FittedScore:
    score = fit_ssd(train.outputs["penultimate"])
    return lambda outputs, images: score(outputs["penultimate"])


def _of_classes(fit: Callable[..., Callable[[Tensor], Tensor]], **settings: bool) -> Callable[..., FittedScore]:
    """`fit`: features (N, D) of ID train, labels, C -> a function of features."""

    def fit_to(train: Features, given: Ingredients) -> FittedScore:
        score = fit(train.outputs["penultimate"], train.labels, given.num_classes, **settings)
        return lambda outputs, images: score(outputs["penultimate"])

    return fit_to


def _of_outputs(score: Callable[..., Tensor], *names: str) -> Callable[..., FittedScore]:
    """`score`: outputs of the network by these names, or of the ingredients -> (N,). Nothing is fitted."""

    def fit_to(train: Features, given: Ingredients) -> FittedScore:
        known = {name: getattr(given.model, name, None) for name in ("energy", "logistic")}  # what VOS trains
        known["prototypes"] = given.prototypes
        return lambda outputs, images: score(*((outputs | known)[name] for name in names)).detach()

    return fit_to


_SUN = "Out-of-Distribution Detection with Deep Nearest Neighbors (ICML 2022)"
_LEE = "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks (NeurIPS 2018)"
_MUELLER = "Mahalanobis++: Improving OOD Detection via Feature Normalization (ICML 2025)"
_OFFICIAL = "none: what the official CIDER code computes (covariance not within classes)"
_REN = "A Simple Fix to Mahalanobis Distance for Improving Near-OOD Detection (2021)"
_SEHWAG = "SSD: A Unified Framework for Self-Supervised Outlier Detection (ICLR 2021)"
_PROTOTYPE = "none: largest cosine to a prototype of CIDER (ICLR 2023)"
_LIU = "Energy-based Out-of-distribution Detection (NeurIPS 2020)"
_HENDRYCKS = "A Baseline for Detecting Misclassified and Out-of-Distribution Examples in Neural Networks (ICLR 2017)"
_DU = "VOS: Learning What You Don't Know by Virtual Outlier Synthesis (ICLR 2022)"
_YU = "Unsupervised Out-of-Distribution Detection by Maximum Classifier Discrepancy (ICCV 2019)"

_LABELS, _LOGITS, _VOS = ("labels",), ("classifier",), ("classifier", "energy weights")
_weighted_energy = _of_outputs(log_weighted_sum_exp, "logits", "energy")
_logistic = _of_outputs(logistic_score, "logits", "energy", "logistic")
_discrepancy = _of_outputs(discrepancy_score, "logits", "logits2")
OWN_SCORES = (
    Score("knn", "KNN (K={k})", _SUN, _knn),
    Score("maha", "Mahalanobis", _LEE, _of_classes(fit_mahalanobis), _LABELS),
    Score("maha++", "Mahalanobis++", _MUELLER, _of_classes(fit_mahalanobis, unit=True), _LABELS),
    Score("maha-official", "Mahalanobis (official code)", _OFFICIAL, _of_classes(fit_official_mahalanobis), _LABELS),
    Score("rmd", "RMD", _REN, _of_classes(fit_relative_mahalanobis), _LABELS),
    Score("rmd++", "RMD++", _MUELLER, _of_classes(fit_relative_mahalanobis, unit=True), _LABELS),
    Score("ssd", "SSD", _SEHWAG, _ssd),
    Score(
        "prototype", "prototype", _PROTOTYPE, _of_outputs(prototype_score, "embedding", "prototypes"), ("prototypes",)
    ),
    Score("energy", "energy", _LIU, _of_outputs(energy_score, "logits"), _LOGITS),
    Score("msp", "MSP", _HENDRYCKS, _of_outputs(msp_score, "logits"), _LOGITS, probability=True),
    Score("sigmoid-energy", "sigmoid of the weighted energy", _DU, _weighted_energy, _VOS, probability=True),
    Score("logistic", "logistic head", _DU, _logistic, _VOS, probability=True),
    Score("discrepancy", "discrepancy", _YU, _discrepancy, ("classifier", "two heads")),
)
SCORES: dict[str, Score] = {score.name: score for score in (*OWN_SCORES, *PYTORCH_OOD_SCORES)}


def check_names(names: Iterable[str]) -> None:
    """Raise WrongUsage, which says why, where there is no score of one of these names."""
    for name in names:
        if name in NOT_OFFERED:
            raise WrongUsage(f"there is no score {name}: {NOT_OFFERED[name]}")
        if name not in SCORES:
            raise WrongUsage(f"unknown score {name}; choose from {', '.join(SCORES)}; eval_cider.py knows all, too")


def chosen_scores(names: list[str], given: Ingredients, method: str) -> tuple[list[Score], list[str]]:
    """The scores of these names in their order, each once, and which others are left out for which reason.

    Only `all` leaves anything out: it stands for every score that the checkpoint can give.

    Args:
        method: that the checkpoint was trained by, as shown.
    Raises:
        UserError: the checkpoint can not give one that was asked for by name.
    """
    refused = {name: reason for name, score in SCORES.items() if (reason := _refusal(score, given, method))}
    for name in names:
        if name in refused:
            able = ", ".join(other for other in SCORES if other not in refused)
            raise UserError(f"--score {name} {refused[name]}\n  do         : choose from {able}")
    if "all" in names:
        groups = {reason: [name for name in refused if refused[name] == reason] for reason in refused.values()}
        left_out = [f"left out: {', '.join(group)}: each {reason}" for reason, group in groups.items()]
        return [score for name, score in SCORES.items() if name not in refused], left_out
    return [SCORES[name] for name in dict.fromkeys(names)], []


def _refusal(score: Score, given: Ingredients, method: str) -> str | None:
    """Why a checkpoint can not give a score; None where it can."""
    need = next((need for need in score.needs if not given.has(need)), None)
    if need is None:
        return None
    why = {
        "labels": "nobody has said",
        "classifier": f"this {method} checkpoint does not have: {method} leaves fc as it was drawn",
    }.get(need, f"this {method} checkpoint does not have")
    if need == "energy weights" and method == "VOS":
        why += (
            ": it was saved before the first virtual outlier, which trains them (--start_epoch), "
            "or comes from code that does not save them"
        )
    return f"needs {NEEDS[need]}, which {why}"


def listing() -> str:
    """Every score with what it needs and its paper, as --list-scores prints it."""
    lines = [("score", "needs", "paper")]
    for name, score in SCORES.items():
        paper = score.paper if isinstance(score.paper, str) else score.paper()
        lines.append((name, " + ".join(("features", *score.needs)), paper))
    widths = [max(len(line[column]) for line in lines) for column in (0, 1)]
    return "\n".join(f"{name:{widths[0]}}   {needs:{widths[1]}}   {paper}" for name, needs, paper in lines)
