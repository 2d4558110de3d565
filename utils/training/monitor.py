"""Watches the projection head during a CIDER training: geometry in degrees, and two known ways to fail."""

import math
import sys
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

COLLAPSED = 0.99  # mean cosine between the embeddings of a batch above which the head is all but constant
SHARED = 0.9  # cosine between two prototypes above which their classes share one place


class HeadMonitor:
    """Turns the means of a log interval into head/compactness, head/dispersion and head/closest-pair; warns once each.

    Args:
        prototypes: gives the (C, D) unit prototypes of the moment, or None for a loss without prototypes.
        class_names: of the C classes, for the warning.
        warmup_steps: classes still lie close together before this step, so the pair warning waits for it.
    """

    def __init__(
        self, prototypes: Callable[[], Tensor] | None = None, class_names: Sequence[str] = (), warmup_steps: int = 0
    ):
        self._prototypes = prototypes
        self._class_names = class_names
        self._warmup_steps = warmup_steps
        self._warned: set[str] = set()

    def __call__(self, means: dict[str, float], step: int) -> dict[str, float]:
        """Log entries for the means up to `step`; `cosine/...` entries are inputs to the geometry and are replaced."""
        line = {name: value for name, value in means.items() if not name.startswith("cosine/")}
        if "cosine/own-prototype" in means:
            line["head/compactness"] = math.degrees(math.acos(max(-1.0, min(1.0, means["cosine/own-prototype"]))))
        if self._prototypes is not None:
            line |= self._prototype_geometry(step)
        if means.get("cosine/pairs", 0.0) > COLLAPSED:
            self._warn(
                "collapse",
                f"the embeddings of all images lie on almost one point (mean cosine {means['cosine/pairs']:.4f}): "
                "the head is collapsing to a constant map. Known with two classes; try a smaller --w, more classes, "
                "--loss supcon, or --prototype-init simplex.",
            )
        return line

    def _prototype_geometry(self, step: int) -> dict[str, float]:
        with torch.no_grad():
            cosines = self._prototypes().double() @ self._prototypes().double().T
            count = len(cosines)
            mean = ((cosines.sum() - cosines.trace()) / (count * (count - 1))).item()
            cosines.fill_diagonal_(-1)
            closest, place = (value.item() for value in cosines.flatten().max(0))
        if closest > SHARED and step > self._warmup_steps:
            first, second = (self._class_names[index] for index in divmod(place, count))
            self._warn(
                "shared",
                f"classes {first} and {second} share one prototype (cosine {closest:.3f}); such pairs tend to stay "
                "together and cost AUROC. Try another --seed, a longer --warmup-epochs, or --prototype-init simplex.",
            )
        return {"head/dispersion": math.degrees(math.acos(max(-1.0, min(1.0, mean)))), "head/closest-pair": closest}

    def _warn(self, kind: str, message: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            print(f"warning: {message}", file=sys.stderr)
