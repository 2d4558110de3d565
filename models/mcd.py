"""MCDNet: an encoder and the two linear classifiers whose disagreement tells OOD from ID images."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.archs import ARCHS
from models.encoders import build_encoder, full_precision


class MCDNet(nn.Module):
    """Network of MCD, maximum classifier discrepancy (Yu and Aizawa 2019): two linear heads, drawn independently.

    It has nothing to do with Monte-Carlo dropout, which others call by the same letters.

    Args:
        arch: "densenet-bc-100-12", "wrn-28-10" (the paper's two), "wrn-40-2", or one of CIDER's ResNets.
        stem, width, pretrained: see `build_encoder`.
    Shape:
        (N, 3, H, W) -> a pair of (N, num_classes). Half precision inside autocast still gives float32 results.
    Raises:
        ValueError: an unknown name, or settings that do not fit together.
        OSError: the ImageNet weights cannot be had.
    """

    def __init__(
        self,
        arch: str = "densenet-bc-100-12",
        num_classes: int = 10,
        stem: str = "cifar",
        pretrained: bool = False,
        width: int = 64,
    ) -> None:
        super().__init__()
        self.encoder, dim = build_encoder(arch, stem=stem, width=width, pretrained=pretrained)
        self.head1 = nn.Linear(dim, num_classes)
        self.head2 = nn.Linear(dim, num_classes)
        self.embedding_dim = dim
        self.config = {
            "arch": arch,
            "num_classes": num_classes,
            "stem": stem,
            "pretrained": False,  # a rebuilt network gets its weights from the checkpoint
            "width": width,
        }

    def forward(self, x: Tensor, detach2: bool = False) -> tuple[Tensor, Tensor]:
        """Class logits (N, C) of head 1 and of head 2.

        Args:
            detach2: head 2 sees the features without their gradient, so that it does not move the encoder.
        """
        features = self.features(x)
        return self._logits(self.head1, features), self._logits(self.head2, features.detach() if detach2 else features)

    def passes(self, x: Tensor, unlabelled: Tensor | None = None, detach2: bool = False) -> list[Tensor]:
        """Logits of both heads for `x`, and behind them for unlabelled images, in a pass of their own."""
        found = [*self(x, detach2)]
        return found if unlabelled is None else [*found, *self(unlabelled)]

    def features(self, x: Tensor) -> Tensor:
        """Penultimate features (N, D), not normalised."""
        return full_precision(self.encoder(x).flatten(1))

    def logits(self, x: Tensor) -> Tensor:
        """Class logits (N, C) of head 1, for scores that want one classifier."""
        return self._logits(self.head1, self.features(x))

    def outputs(self, x: Tensor) -> dict[str, Tensor]:
        """All that an evaluation needs, from one forward pass: penultimate (N, D), logits and logits2 (N, C)."""
        return self.outputs_from_penultimate(self.features(x))

    def outputs_from_penultimate(self, features: Tensor) -> dict[str, Tensor]:
        """What `outputs` has for images of these penultimate features (N, D)."""
        return {
            "penultimate": features,
            "logits": self._logits(self.head1, features),
            "logits2": self._logits(self.head2, features),
        }

    @property
    def fc(self) -> nn.Linear:
        """The classifier that goes with `logits`: head 1."""
        return self.head1

    @staticmethod
    def _logits(head: nn.Linear, features: Tensor) -> Tensor:
        # Not in half precision: the score is a difference of two outputs that agree on ID images.
        with torch.autocast(features.device.type, enabled=False):
            return head(features)


def config_from_state_dict(state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
    """Constructor arguments of the MCDNet that a state dict belongs to, from names and shapes alone.

    Raises:
        ValueError: it is no MCDNet with the CIFAR stem and the usual width.
    """
    found = {name: tensor.shape for name, tensor in state_dict.items()}
    if "head1.weight" not in found:
        raise ValueError("not the weights of an MCDNet: head1.weight is missing.")
    for arch in ARCHS:
        config = {"arch": arch, "num_classes": found["head1.weight"][0]}
        with torch.device("meta"):
            model = MCDNet(**config)
        if found == {name: tensor.shape for name, tensor in model.state_dict().items()}:
            return config
    raise ValueError(f"not the weights of an MCDNet: none of {', '.join(ARCHS)} has these names and shapes.")
