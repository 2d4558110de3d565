"""What a training watches beside its losses: the projection head of CIDER, the covariance of VOS."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional as F

from utils.errors import warn
from utils.evaluation.collapse import ways_out
from utils.prototypes import Prototypes, class_directions

COLLAPSED = 0.99  # mean cosine between the embeddings of a batch; fresh networks have 0.92 to 0.96
SHARED = 0.9  # cosine between two prototypes above which their classes share one place
NAMED_PAIRS = 3


class Monitor:
    """Watches nothing; what other monitors have in common. Each warning is given once."""

    def __init__(self) -> None:
        self._warned: set[str] = set()

    def describe(self, means: dict[str, float], epoch: float) -> dict[str, float]:
        """Log entries for the means of an interval, which ends when `epoch` epochs are done, a fraction among them."""
        return means

    def end_epoch(self, epoch: int) -> dict[str, float]:
        """Further figures for the line at the end of an epoch; on the main process only."""
        return {}

    def amend(self, content: dict[str, Any]) -> dict[str, Any]:
        """The last word on what a checkpoint holds."""
        return content

    def _warn(self, kind: str, message: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            warn(message)


class HeadMonitor(Monitor):
    """Turns the means of a log interval into head/compactness and head/dispersion, in degrees, and head/closest-pair.

    That is the cosine of the two prototypes that lie closest.

    Warns of two known ways to fail: a head that maps everything to one point, and classes that share a prototype.

    Args:
        prototypes: of the C >= 2 classes of `class_names`; None for a loss without any.
        warmup_epochs: classes still lie close together in these, so the warning of pairs waits for their end.
        trained_with: the arguments of the run; what they have already is not advised.
    """

    def __init__(
        self,
        prototypes: Prototypes | None = None,
        class_names: Sequence[str] = (),
        warmup_epochs: int = 0,
        trained_with: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        self._prototypes, self._class_names, self._warmup_epochs = prototypes, class_names, warmup_epochs
        self._advice = f"Try {', or '.join(ways_out(trained_with or {}))}."

    def describe(self, means: dict[str, float], epoch: float) -> dict[str, float]:
        """Log entries; `cosine/...` entries are inputs to the geometry and are replaced."""
        line = {name: value for name, value in means.items() if not name.startswith("cosine/")}
        if "cosine/own-prototype" in means:
            line["head/compactness"] = _degrees(means["cosine/own-prototype"])
        if self._prototypes is not None:
            line |= self._prototype_geometry(epoch)
        if means.get("cosine/pairs", 0.0) > COLLAPSED:
            self._warn(
                "collapse",
                f"the embeddings of all images lie on almost one point (mean cosine {means['cosine/pairs']:.4f}): "
                f"the head is collapsing to a constant map. Known with two classes. {self._advice}",
            )
        return line

    def _prototype_geometry(self, epoch: float) -> dict[str, float]:
        rows, names = self._prototypes.unit().double().cpu(), self._class_names
        unit = F.normalize(class_directions(rows, len(names)), dim=1)
        cosines = (unit @ unit.T)[tuple(pairs := torch.triu_indices(len(unit), len(unit), 1))]
        closest = cosines.topk(min(NAMED_PAIRS, len(cosines)))
        shared = [
            f"{names[a]} and {names[b]} (cosine {value:.3f})"
            for (a, b), value in zip(pairs.T[closest.indices].tolist(), closest.values.tolist(), strict=True)
            if value > SHARED
        ]
        # Those of a mixture start close together and leave slowly.
        if shared and epoch > self._warmup_epochs and len(rows) == len(names):
            self._warn(
                "shared",
                f"classes share one prototype: {', '.join(shared)}. Such pairs tend to stay together and cost AUROC. "
                + self._advice,
            )
        return {"head/dispersion": _degrees(cosines.mean().item()), "head/closest-pair": closest.values[0].item()}


class JitterMonitor(Monitor):
    """Says where the covariance of VOS had to be helped, which the log has in full."""

    def describe(self, means: dict[str, float], epoch: float) -> dict[str, float]:
        """The log entries, as they are."""
        if means["outliers/jitter"] > 0:
            self._warn(
                "jitter",
                f"the covariance of the features is singular; up to epoch {math.ceil(epoch)} a mean of "
                f"{means['outliers/jitter']:.2g} was added to its diagonal. A smaller --feat_dim avoids it.",
            )
        return means


def _degrees(cosine: float) -> float:
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))
