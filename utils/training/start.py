"""What a training starts from: weights that are drawn, torchvision's or those of a checkpoint; prototypes."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from models.resnet import load_torchvision_weights
from utils.checkpoint import load_checkpoint
from utils.data.id_sets import IDData
from utils.errors import UserError, note
from utils.evaluation.features import extract, images_at_once
from utils.prototypes import class_means
from utils.training import distributed
from utils.training.recipe import Recipe
from utils.training.settings import RunSettings


def start_network(make: Callable[[], nn.Module], *, weights: Path | None = None, init_from: Path | None = None):
    """The network that `make` gives, with the weights that a training starts from.

    Args:
        weights: file with torchvision's weights for its encoder.    init_from: checkpoint whose weights are taken over.
    Raises:
        UserError: settings that do not fit together, a file that is missing, damaged or of another network.
    """
    try:
        model = make()
        if weights:
            load_torchvision_weights(model.encoder, weights)
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error
    if init_from:
        take_over(model, init_from)
    return model


def take_over(model: nn.Module, path: Path) -> None:
    """Copy the weights of a checkpoint into a network; parts beside the encoder that do not fit stay as they are.

    Raises:
        UserError: missing or damaged file, or one with another encoder.
    """
    found = load_checkpoint(path)
    there, own = ({**dict(m.named_parameters()), **dict(m.named_buffers())} for m in (found.model, model))
    fitting = {name for name in own.keys() & there.keys() if own[name].shape == there[name].shape}
    wrong = sorted(name for name in (own.keys() | there.keys()) - fitting if name.startswith("encoder."))
    if wrong:
        raise UserError(
            f"--init-from {path} has another encoder than this run: {found.model.config['arch']} of width "
            f"{found.model.config['width']}, and {len(wrong)} names or shapes differ, first {wrong[0]}"
        )
    with torch.no_grad():
        for name in fitting:
            own[name].copy_(there[name])
    fresh = sorted({name.split(".")[0] for name in own.keys() - fitting})
    if distributed.is_main():
        kept = f"; {', '.join(fresh)} did not fit and starts anew" if fresh else ""
        note(f"starts from the weights of {path} (epoch {found.epoch}){kept}")


def first_prototypes(recipe: Recipe, data: IDData, settings: RunSettings, device: torch.device) -> Tensor:
    """(C, D) unit rows where the prototypes of a new run start: class means of ID train, no test image."""
    if not recipe.class_means:
        return recipe.prototypes.prototypes.detach().cpu()
    found = extract(
        recipe.model,
        data.train,
        mean=data.mean,
        std=data.std,
        device=device,
        batch_size=min(settings.batch_size, images_at_once(device)),
        workers=settings.workers,
    )
    return class_means(found.outputs["embedding"], data.train.labels, len(data.class_names))
