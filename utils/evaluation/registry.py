"""All scores by name. A new score is its formula and one entry here; a detector of pytorch-ood is one line there."""

from collections.abc import Callable, Iterable
from functools import partial

from torch import Tensor, nn
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
    weighted_energy_score,
)

# Why a checkpoint of VOS may lack what VOS trains.
UNTRAINED_ENERGY = (
    "it was saved before the first virtual outlier, which trains them (--start_epoch), "
    "or comes from code that does not save them"
)


def _knn(train: Features, given: Ingredients) -> FittedScore:
    bank = Bank(F.normalize(train.outputs["penultimate"], dim=1))
    return lambda outputs, images: bank.search(F.normalize(outputs["penultimate"], dim=1), (given.k,)).scores[:, 0]


def _prototype(train: Features, given: Ingredients) -> FittedScore:
    return lambda outputs, images: prototype_score(outputs["embedding"], given.prototypes)


def _ssd(train: Features, given: Ingredients) -> FittedScore:
    score = fit_ssd(train.outputs["penultimate"])
    return lambda outputs, images: score(outputs["penultimate"])


def _of_classes(fit: Callable[..., Callable[[Tensor], Tensor]], train: Features, given: Ingredients) -> FittedScore:
    """`fit`: features (N, D) of ID train, labels, C -> a function of features."""
    score = fit(train.outputs["penultimate"], train.labels, given.num_classes)
    return lambda outputs, images: score(outputs["penultimate"])


def _of_logits(score: Callable[[Tensor], Tensor], train: Features, given: Ingredients) -> FittedScore:
    return lambda outputs, images: score(outputs["logits"])


def _sigmoid_energy(train: Features, given: Ingredients) -> FittedScore:
    energy = given.model.energy.detach().to(given.device)
    return lambda outputs, images: weighted_energy_score(outputs["logits"], energy)


def _logistic(train: Features, given: Ingredients) -> FittedScore:
    energy, trained = given.model.energy.detach().to(given.device), given.model.logistic
    logistic = nn.Linear(1, 2).requires_grad_(False)
    logistic.load_state_dict(trained.state_dict())
    logistic.to(given.device)
    return lambda outputs, images: logistic_score(outputs["logits"], energy, logistic)


def _discrepancy(train: Features, given: Ingredients) -> FittedScore:
    return lambda outputs, images: discrepancy_score(outputs["logits"], outputs["logits2"])


# Papers.
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

_unit_mahalanobis = partial(fit_mahalanobis, unit=True)
_unit_rmd = partial(fit_relative_mahalanobis, unit=True)
_VOS = ("classifier", "energy weights")
OWN_SCORES = (
    Score("knn", "KNN (K={k})", _SUN, _knn),
    Score("maha", "Mahalanobis", _LEE, partial(_of_classes, fit_mahalanobis), ("labels",)),
    Score("maha++", "Mahalanobis++", _MUELLER, partial(_of_classes, _unit_mahalanobis), ("labels",)),
    Score(
        "maha-official",
        "Mahalanobis (official code)",
        _OFFICIAL,
        partial(_of_classes, fit_official_mahalanobis),
        ("labels",),
    ),
    Score("rmd", "RMD", _REN, partial(_of_classes, fit_relative_mahalanobis), ("labels",)),
    Score("rmd++", "RMD++", _MUELLER, partial(_of_classes, _unit_rmd), ("labels",)),
    Score("ssd", "SSD", _SEHWAG, _ssd),
    Score("prototype", "prototype", _PROTOTYPE, _prototype, ("prototypes",)),
    Score("energy", "energy", _LIU, partial(_of_logits, energy_score), ("classifier",)),
    Score("msp", "MSP", _HENDRYCKS, partial(_of_logits, msp_score), ("classifier",), probability=True),
    Score("sigmoid-energy", "sigmoid of the weighted energy", _DU, _sigmoid_energy, _VOS, probability=True),
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
            raise WrongUsage(f"unknown score {name}; choose from {', '.join(SCORES)}, all")


def refusal(name: str, given: Ingredients, method: str) -> str | None:
    """Why a checkpoint can not give a score; None where it can.

    Args:
        method: that the checkpoint was trained by, as shown.
    """
    missing = [need for need in SCORES[name].needs if not given.has(need)]
    if not missing:
        return None
    if missing[0] == "labels":
        return f"needs {NEEDS['labels']}, which nobody has said"
    reason = f"needs {NEEDS[missing[0]]}, which this {method} checkpoint does not have"
    if missing[0] == "classifier":
        reason += f": {method} leaves fc as it was drawn"
    if missing[0] == "energy weights" and method == "VOS":
        reason += f": {UNTRAINED_ENERGY}"
    return reason


def chosen_scores(names: list[str], given: Ingredients, method: str) -> tuple[list[Score], list[str]]:
    """The scores of these names in their order, each once, and which others are left out for which reason.

    Only `all` leaves anything out: it stands for every score that the checkpoint can give.

    Raises:
        UserError: the checkpoint can not give one that was asked for by name.
    """
    refused = {name: reason for name in SCORES if (reason := refusal(name, given, method))}
    for name in names:
        if name in refused:
            able = ", ".join(other for other in SCORES if other not in refused)
            raise UserError(f"--score {name} {refused[name]}\n  do         : choose from {able}")
    if "all" in names:
        groups = {reason: [name for name in refused if refused[name] == reason] for reason in refused.values()}
        left_out = [f"left out: {', '.join(group)}: each {reason}" for reason, group in groups.items()]
        return [score for name, score in SCORES.items() if name not in refused], left_out
    return [SCORES[name] for name in dict.fromkeys(names)], []


def listing() -> str:
    """Every score with what it needs and its paper, as --list-scores prints it."""
    lines = [
        (name, " + ".join(("features", *score.needs)), score.paper if isinstance(score.paper, str) else score.paper())
        for name, score in SCORES.items()
    ]
    widths = [max(len(line[column]) for line in lines) for column in (0, 1)]
    head = ("score".ljust(widths[0]), "needs".ljust(widths[1]), "paper")
    body = ["   ".join(head)]
    body += ["   ".join((name.ljust(widths[0]), needs.ljust(widths[1]), paper)) for name, needs, paper in lines]
    return "\n".join(body)
