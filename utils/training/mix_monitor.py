"""What MCD's fine-tuning watches: the epoch that the labels of some images choose, and which images it has seen."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from utils.data import splits
from utils.data.unlabelled import Mix
from utils.errors import UserError
from utils.evaluation.features import extract
from utils.evaluation.metrics import ood_metrics
from utils.evaluation.scores import discrepancy_score
from utils.training.monitor import Monitor


class BestWeights(nn.Module):
    """A copy of a network at its best epoch so far, as a part of the state of the run, so that a resumed one has it.

    Attributes:
        epoch: that epoch, 0 before the first figure.    figure: what it reached.
    """

    epoch: Tensor
    figure: Tensor

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(model).requires_grad_(False)
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))
        self.register_buffer("figure", torch.full((), -1.0, dtype=torch.float64))

    def offer(self, model: nn.Module, figure: float, epoch: int) -> None:
        """Take the weights over if `figure` is larger than any before; of equal ones the first stays."""
        if figure > float(self.figure):
            self.network.load_state_dict(model.state_dict())
            self.figure.fill_(figure)
            self.epoch.fill_(epoch)


class MixMonitor(Monitor):
    """Keeps the weights of the epoch with the highest AUROC on the images for the choice, where a mode has a choice.

    Checkpoints get those weights, and say which unlabelled test images are behind them.

    Args:
        model: that is trained.    mix: its unlabelled images.
        reading: mean and std of the channels, as fractions of 1; workers that decode image files.
        hidden: entries of the checkpoint's arguments that are left out.
    Attributes:
        best: None in the inductive mode, which takes the last epoch and looks at no OOD label.
    """

    def __init__(self, model: nn.Module, mix: Mix, *, hidden: tuple[str, ...] = (), **reading: Any) -> None:
        super().__init__()
        self._model, self._mix, self._hidden, self._reading = model, mix, hidden, reading
        self.best = BestWeights(model) if mix.split.mode == "transductive" else None

    def end_epoch(self, epoch: int) -> dict[str, float]:
        """AUROC of the discrepancy on the images for the choice.

        Raises:
            UserError: scores that are not finite.
        """
        if self.best is None:
            return {}
        device = next(self._model.parameters()).device
        sides = (self._mix.choice_id, self._mix.choice_ood)
        found = [extract(self._model, images, device=device, **self._reading).outputs for images in sides]
        try:
            auroc = ood_metrics(*(discrepancy_score(each["logits"], each["logits2"]) for each in found))["auroc"]
        except ValueError as error:
            advice = "\n  begin anew : with a smaller --learning_rate"
            raise UserError(f"no epoch can be chosen: {error}{advice}") from error
        self.best.offer(self._model, auroc, epoch)
        return {"choice/auroc": auroc}

    def amend(self, content: dict[str, Any]) -> dict[str, Any]:
        """The chosen weights, and what the checkpoint says about the unlabelled images behind it."""
        choice, epoch = "the last epoch; no OOD label was used", content["epoch"]
        if self.best is not None:
            weights = self.best.network.state_dict()
            content["state_dict"] = {name: value.detach().cpu().clone() for name, value in weights.items()}
            epoch = int(self.best.epoch)
            choice = (
                f"epoch {epoch} of {content['epoch']}, by the AUROC on {len(self._mix.choice_id):,} ID "
                f"and {len(self._mix.choice_ood):,} OOD images with their labels, none of which is scored"
            )
        split = self._mix.split
        content["args"] = {name: value for name, value in content["args"].items() if name not in self._hidden}
        seen = {"mode": split.mode, "ood": list(split.ood), "choice": choice, "epoch": epoch}
        return {**content, "unlabelled": {**seen, "split": splits.as_plain(split)}}
