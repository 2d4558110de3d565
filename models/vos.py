"""VOSNet: an encoder, a classifier, and the energy weights and logistic head that VOS trains beside them."""

from typing import Any

import torch
from torch import Tensor, nn

from models.archs import WIDE_RESNETS
from models.encoders import Network, outside_autocast

PAPER_DROPOUT = 0.3  # of the WRN in the VOS paper


class VOSNet(Network):
    """Network of VOS (Du et al. 2022): class logits, and a logistic head on the weighted energy of the logits.

    In its state dict the encoder's names have no prefix, as in the official files (`conv1.weight`, ..., `fc.bias`);
    `energy` (C,) and `logistic.*`, which those do not hold, stand beside them.

    Args:
        arch: "wrn-40-2", "wrn-28-10", "densenet-bc-100-12", or one of CIDER's ResNets.
        feat_dim: dimension of a bottleneck (batch norm, linear, ReLU) behind the encoder, whose output is then what
            outliers are synthesised in; None for none. Gaussians fit 64 dimensions better than 512.
        dropout: None for the paper's: 0.3 in a WRN, 0 elsewhere.
        stem, width, pretrained: see `build_encoder`.
        train_layers: "all", or "layer4": behind the ImageNet stem, freeze what comes before the last stage.
        uncertainty: with energy weights and logistic head. The official files have none, nor has the cross-entropy
            baseline: no score can be made of numbers that were never trained.
    Shape:
        (N, 3, H, W) -> (N, num_classes). Half precision inside autocast still gives float32 results.
    Raises:
        ValueError, OSError: as `build_encoder`, and for names of its own that are unknown.
    """

    def __init__(
        self,
        arch: str = "wrn-40-2",
        num_classes: int = 10,
        feat_dim: int | None = None,
        dropout: float | None = None,
        stem: str = "cifar",
        pretrained: bool = False,
        width: int = 64,
        train_layers: str = "all",
        uncertainty: bool = True,
    ) -> None:
        if train_layers != "all" and (train_layers, stem) != ("layer4", "imagenet"):
            known = "all, layer4, which belongs to the imagenet stem"
            raise ValueError(f"unknown train_layers {train_layers!r}; choose from {known}")
        if dropout is None:
            dropout = PAPER_DROPOUT if arch in WIDE_RESNETS else 0.0
        shape = {"arch": arch, "num_classes": num_classes, "feat_dim": feat_dim, "dropout": dropout, "width": width}
        config = {**shape, "stem": stem, "train_layers": train_layers, "uncertainty": uncertainty}
        super().__init__(config, pretrained=pretrained, dropout=dropout, freeze=train_layers == "layer4")
        self.bottleneck = nn.Sequential()
        if feat_dim is not None:
            dim, self.embedding_dim = self.embedding_dim, feat_dim
            self.bottleneck = nn.Sequential(nn.BatchNorm1d(dim), nn.Linear(dim, feat_dim), nn.ReLU())
        self.fc = nn.Linear(self.embedding_dim, num_classes)
        nn.init.zeros_(self.fc.bias)
        self.energy = nn.Parameter(torch.rand(num_classes)) if uncertainty else None
        self.logistic = nn.Linear(1, 2) if uncertainty else None
        self.register_state_dict_post_hook(_drop_prefix)
        self.register_load_state_dict_pre_hook(_add_prefix)

    def forward(self, x: Tensor) -> Tensor:
        """Class logits (N, C)."""
        return self.classify(self.features(x))

    def classify(self, features: Tensor) -> Tensor:
        """Class logits (N, C) of penultimate features (N, d), which need not come from an image."""
        # Not in half precision: its steps are as large as the differences of energy that are to be learned.
        return outside_autocast(self.fc, features)

    def outputs_from_penultimate(self, features: Tensor) -> dict[str, Tensor]:
        """What images of these penultimate features (N, d) have: those, and logits (N, C)."""
        return {"penultimate": features, "logits": self.classify(features)}

    def _encode(self, x: Tensor) -> Tensor:
        return self.bottleneck(super()._encode(x))

    def uncertainty_parameters(self) -> list[nn.Parameter]:
        """Energy weights and logistic head, which get a gradient from virtual outliers only; none without them."""
        return [self.energy, *self.logistic.parameters()] if self.config["uncertainty"] else []

    def forget_uncertainty(self) -> None:
        """Drop energy weights and logistic head, as after a training that ended before its first virtual outlier."""
        self.energy = self.logistic = None
        self.config["uncertainty"] = False


def _drop_prefix(model: nn.Module, state_dict: dict[str, Tensor], prefix: str, metadata: dict) -> None:
    """State-dict hook: `encoder.conv1.weight` is saved as `conv1.weight`."""
    for name in [name for name in state_dict if name.startswith(f"{prefix}encoder.")]:
        state_dict[prefix + name.removeprefix(f"{prefix}encoder.")] = state_dict.pop(name)


def _add_prefix(model: nn.Module, state_dict: dict[str, Tensor], prefix: str, *more: Any) -> None:
    """State-dict hook: `conv1.weight` is loaded into `encoder.conv1.weight`."""
    own = {name for name, _ in model.named_children() if name != "encoder"} | {"energy"}
    for name in [name for name in state_dict if name.startswith(prefix)]:
        inner = name.removeprefix(prefix)
        if inner.split(".")[0] not in own:
            state_dict[f"{prefix}encoder.{inner}"] = state_dict.pop(name)
