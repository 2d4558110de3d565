"""The watch for losses and weights that are not finite, and what is said of them."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

from utils.training.meter import LossMeter


def bad_loss(meter: LossMeter, place: Callable[[int], str]) -> str | None:
    """Where the first loss came that is not finite, `place` saying where a step is; None where all are."""
    bad = meter.first_bad()
    return bad and f"the loss is not finite at {place(bad[0])}: {listed(bad[1])}"


def bad_weight(modules: Mapping[str, nn.Module], place: str) -> str | None:
    """Which weight or buffer is not finite after a step at `place`; None where all are."""
    values = {
        f"{key}.{name}": value
        for key, module in modules.items()
        for name, value in module.state_dict().items()
        if value.is_floating_point()
    }
    finite = torch.stack([value.isfinite().all() for value in values.values()]).tolist()
    return None if all(finite) else f"{list(values)[finite.index(False)]} is not finite after {place}"


def advice(fault: str, means: Mapping[str, float], last: Path, amp: str, *, pretraining: bool) -> str:
    """The message about a fault: the last means, the state that is kept, what to try.

    Args:
        pretraining: of MCD, whose rate has an option of its own and no warm-up.
    """
    kept = f"{last}, the last good state" if last.exists() else "nothing was saved yet"
    first = "the same command with --amp off, from the last good state; or " if amp != "off" else ""
    rate = "--pretrain-learning_rate" if pretraining else "--learning_rate or a longer --warmup-epochs"
    return (
        f"{fault}\n  before     : {listed(means) or 'nothing logged yet'}\n  kept       : {kept}\n"
        f"  go on with : {first}a smaller {rate}, from the start"
    )


def listed(losses: Mapping[str, float]) -> str:
    """Losses by name, on one line."""
    return ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
