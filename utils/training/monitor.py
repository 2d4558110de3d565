"""Watches the projection head during a CIDER training: geometry in degrees, and two known ways to fail."""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from utils.evaluation.collapse import ways_out

COLLAPSED = 0.99  # mean cosine between the embeddings of a batch; fresh networks have 0.92 to 0.96
SHARED = 0.9  # cosine between two prototypes above which their classes share one place
NAMED_PAIRS = 3


class HeadMonitor:
    """Turns the means of a log interval into head/compactness, head/dispersion and head/closest-pair; warns once each.

    Args:
        prototypes: gives the (C, D) unit prototypes of the moment, C >= 2; None for a loss without prototypes.
        class_names: of the C classes, for the warning.
        warmup_steps: classes still lie close together before this step, so the pair warning waits for it.
        trained_with: the arguments of the run; what they have already is not advised.
    """

    def __init__(
        self,
        prototypes: Callable[[], Tensor] | None = None,
        class_names: Sequence[str] = (),
        warmup_steps: int = 0,
        trained_with: Mapping[str, Any] | None = None,
    ):
        self._prototypes = prototypes
        self._class_names = class_names
        self._warmup_steps = warmup_steps
        self._advice = f"Try {', or '.join(ways_out(trained_with or {}))}."
        self._warned: set[str] = set()

    def __call__(self, means: dict[str, float], step: int) -> dict[str, float]:
        """Log entries for the means up to `step`; `cosine/...` entries are inputs to the geometry and are replaced."""
        line = {name: value for name, value in means.items() if not name.startswith("cosine/")}
        if "cosine/own-prototype" in means:
            line["head/compactness"] = _degrees(means["cosine/own-prototype"])
        if self._prototypes is not None:
            line |= self._prototype_geometry(step)
        if means.get("cosine/pairs", 0.0) > COLLAPSED:
            self._warn(
                "collapse",
                f"the embeddings of all images lie on almost one point (mean cosine {means['cosine/pairs']:.4f}): "
                f"the head is collapsing to a constant map. Known with two classes. {self._advice}",
            )
        return line

    def _prototype_geometry(self, step: int) -> dict[str, float]:
        with torch.no_grad():
            prototypes = self._prototypes().double()
            first, second = torch.triu_indices(len(prototypes), len(prototypes), 1, device=prototypes.device)
            cosines = (prototypes @ prototypes.T)[first, second]
            highest = cosines.topk(min(NAMED_PAIRS, len(cosines)))
            pairs = [(first[place].item(), second[place].item()) for place in highest.indices]
        values = highest.values.tolist()
        shared = [
            f"{self._class_names[a]} and {self._class_names[b]} (cosine {value:.3f})"
            for (a, b), value in zip(pairs, values, strict=True)
            if value > SHARED
        ]
        if shared and step > self._warmup_steps:
            self._warn(
                "shared",
                f"classes share one prototype: {', '.join(shared)}. Such pairs tend to stay together and cost AUROC. "
                + self._advice,
            )
        return {"head/dispersion": _degrees(cosines.mean().item()), "head/closest-pair": values[0]}

    def _warn(self, kind: str, message: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            print(f"warning: {message}", file=sys.stderr)


def _degrees(cosine: float) -> float:
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))
