"""All scores by name. A new score is one entry in own_scores.py; a detector of pytorch-ood is one line there."""

from utils.errors import UserError
from utils.evaluation.logit_scores import UNTRAINED_ENERGY
from utils.evaluation.own_scores import OWN_SCORES
from utils.evaluation.pytorch_ood_scores import NOT_OFFERED, PYTORCH_OOD_SCORES
from utils.evaluation.score_parts import NEEDS, Ingredients, Score

SCORES: dict[str, Score] = {score.name: score for score in (*OWN_SCORES, *PYTORCH_OOD_SCORES)}


def unknown_score(name: str) -> str | None:
    """Why there is no score of that name; None where there is one."""
    if name in SCORES:
        return None
    if name in NOT_OFFERED:
        return f"there is no score {name}: {NOT_OFFERED[name]}"
    return f"unknown score {name}; choose from {', '.join(SCORES)}, all"


def refusal(name: str, given: Ingredients, method: str) -> str | None:
    """Why a checkpoint can not give a score; None where it can.

    Args:
        method: that the checkpoint was trained by, as shown.
    """
    missing = [need for need in SCORES[name].needs if not given.has(need)]
    if not missing:
        return None
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
    lines = [(name, " + ".join(("features", *score.needs)), score.paper()) for name, score in SCORES.items()]
    widths = [max(len(line[column]) for line in lines) for column in (0, 1)]
    head = ("score".ljust(widths[0]), "needs".ljust(widths[1]), "paper")
    body = ["   ".join(head)]
    body += ["   ".join((name.ljust(widths[0]), needs.ljust(widths[1]), paper)) for name, needs, paper in lines]
    return "\n".join(body)
