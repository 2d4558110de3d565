"""Scores on the logits of trained classifiers: larger = more in-distribution. VOS is tested with the first of them, MCD
with the last.

Two of them are probabilities. A probability close to 1 has no digits left in float32, so ranking and metrics use the
number before the sigmoid; the sigmoid of it is what is shown and thresholded.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from utils.errors import UserError
from utils.evaluation.scores import discrepancy_score
from utils.losses import log_weighted_sum_exp


def energy_score(logits: Tensor) -> Tensor:
    """Minus the energy, log sum_k exp f_k (Liu et al. 2020): the test score of the VOS paper. (N, C) -> (N,)"""
    return logits.logsumexp(dim=1)


def msp_score(logits: Tensor) -> Tensor:
    """Logit of the largest softmax probability (Hendrycks and Gimpel 2017), in whose order it is. (N, C) -> (N,)"""
    top, *others = logits.double().sort(dim=1, descending=True).values.split([1, logits.shape[1] - 1], dim=1)
    return (top[:, 0] - others[0].logsumexp(dim=1)).float()  # log p - log(1 - p)


def logistic_score(logits: Tensor, energy: Tensor, logistic: nn.Linear) -> Tensor:
    """Log-odds of ID by VOS's learned head on the weighted energy. (N, C), energy weights (C,) -> (N,)"""
    outputs = logistic(log_weighted_sum_exp(logits, energy)[:, None])  # N x 2: outlier, ID
    return outputs[:, 1] - outputs[:, 0]


@dataclass(frozen=True)
class LogitScore:
    """A score on logits.

    Attributes:
        shown: as tables name it.    score: outputs of the network -> (N,), what ranking and metrics use.
        probability: whether the sigmoid of the score is shown and thresholded.
    """

    shown: str
    score: Callable[[dict[str, Tensor]], Tensor]
    probability: bool = False

    def display(self, scores: Tensor) -> Tensor:
        """What is shown of scores, and what a threshold of the user is compared with."""
        return scores.double().sigmoid() if self.probability else scores


def on_cpu(outputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The logits among a network's outputs, of one head or of two, on the CPU: where these scores are computed."""
    return {name: values.cpu() for name, values in outputs.items() if name in ("logits", "logits2")}


# Why a checkpoint of VOS may lack what VOS trains.
UNTRAINED_ENERGY = (
    "it was saved before the first virtual outlier, which trains them (--start_epoch), "
    "or comes from code that does not save them"
)
LOGIT_SCORES = ("energy", "msp", "sigmoid-energy", "logistic", "discrepancy")


def logit_score(name: str, model: nn.Module, *, classifier_is_trained: bool) -> LogitScore:
    """The score of that name for a network with its trained weights.

    Raises:
        UserError: the network has not what the score is made of.
    """
    if not classifier_is_trained:
        raise UserError(
            f"--score {name} needs a trained classifier, and this method leaves fc as it was drawn\n"
            "  do         : use --score knn"
        )
    if name == "energy":
        return LogitScore("energy", lambda outputs: energy_score(outputs["logits"]))
    if name == "msp":
        return LogitScore("MSP", lambda outputs: msp_score(outputs["logits"]), probability=True)
    if name == "discrepancy":
        if getattr(model, "head2", None) is None:
            raise UserError(
                "--score discrepancy needs the two heads that MCD trains, and this network has one\n"
                "  do         : use --score energy, or train with train_mcd.py"
            )
        return LogitScore("discrepancy", lambda outputs: discrepancy_score(outputs["logits"], outputs["logits2"]))
    energy, logistic = getattr(model, "energy", None), getattr(model, "logistic", None)
    if energy is None or logistic is None:
        raise UserError(
            f"--score {name} needs the energy weights that VOS trains, which this checkpoint does not have: "
            f"{UNTRAINED_ENERGY}\n"
            "  do         : use --score energy, the test score of the paper"
        )
    energy = energy.detach().cpu()
    if name == "sigmoid-energy":
        return LogitScore(
            "sigmoid of the weighted energy",
            lambda outputs: log_weighted_sum_exp(outputs["logits"], energy),
            probability=True,
        )
    if name == "logistic":
        head = nn.Linear(1, 2)
        head.load_state_dict({key: value.detach().cpu() for key, value in logistic.state_dict().items()})
        head.requires_grad_(False)
        return LogitScore(
            "logistic head", lambda outputs: logistic_score(outputs["logits"], energy, head), probability=True
        )
    raise UserError(f"unknown score {name}; choose from {', '.join(LOGIT_SCORES)}")
