"""MCDNet: an encoder and the two linear classifiers whose disagreement tells OOD from ID images."""

from torch import Tensor, nn

from models.encoders import Network, outside_autocast


class MCDNet(Network):
    """Network of MCD, maximum classifier discrepancy (Yu and Aizawa 2019): two linear heads, drawn independently.

    It has nothing to do with Monte-Carlo dropout, which others call by the same letters.

    Args:
        arch: "densenet-bc-100-12", "wrn-28-10" (the paper's two), "wrn-40-2", or one of CIDER's ResNets.
        stem, width, pretrained: see `build_encoder`.
    Shape:
        (N, 3, H, W) -> a pair of (N, num_classes). Half precision inside autocast still gives float32 results.
    Raises:
        ValueError, OSError: as `build_encoder`.
    """

    def __init__(
        self,
        arch: str = "densenet-bc-100-12",
        num_classes: int = 10,
        stem: str = "cifar",
        pretrained: bool = False,
        width: int = 64,
    ) -> None:
        config = {"arch": arch, "num_classes": num_classes, "stem": stem, "width": width}
        super().__init__(config, pretrained=pretrained)
        self.head1 = nn.Linear(self.embedding_dim, num_classes)
        self.head2 = nn.Linear(self.embedding_dim, num_classes)

    def forward(self, x: Tensor, detach2: bool = False) -> tuple[Tensor, Tensor]:
        """Class logits (N, C) of head 1 and of head 2.

        Args:
            detach2: head 2 sees the features without their gradient, so that it does not move the encoder.
        """
        # Not in half precision: the score is a difference of two outputs that agree on ID images.
        features = self.penultimate(x)
        seen2 = features.detach() if detach2 else features
        return outside_autocast(self.head1, features), outside_autocast(self.head2, seen2)

    def passes(self, x: Tensor, unlabelled: Tensor | None = None, detach2: bool = False) -> list[Tensor]:
        """Logits of both heads for `x`, and behind them for unlabelled images, in a pass of their own."""
        found = [*self(x, detach2)]
        return found if unlabelled is None else [*found, *self(unlabelled)]

    @property
    def fc(self) -> nn.Linear:
        """Head 1, for scores that want one classifier."""
        return self.head1

    def outputs_from_penultimate(self, features: Tensor) -> dict[str, Tensor]:
        """What images of these penultimate features (N, D) have: those, and logits and logits2 (N, C) of the heads."""
        logits, logits2 = (outside_autocast(head, features) for head in (self.head1, self.head2))
        return {"penultimate": features, "logits": logits, "logits2": logits2}
