"""CIDERNet: an encoder, the projection head that CIDER trains, and a classifier kept for its name in checkpoints."""

from torch import Tensor, nn
from torch.nn import functional as F

from models.archs import CIFAR_BLOCKS
from models.encoders import Network, full_precision

HEADS = ("mlp", "linear")


class CIDERNet(Network):
    """Network of CIDER (Ming et al. 2023, section 3): encoder f, projection head h, unit embedding h(f(x)) / |h(f(x))|.

    `fc` is trained by the cross-entropy baseline alone; CIDER and SupCon leave it as it was drawn.

    Args:
        arch: "resnet18", "resnet34", "resnet50", "resnet101"; with the ImageNet stem "resnet34" or "resnet50".
        head: "mlp" (D - ReLU - feat_dim) or "linear".
        stem, pretrained, width: see `build_encoder`.
        train_layers: "all" trains everything. None trains layer4, fc and head behind the ImageNet stem, as in the
            paper, and everything behind the CIFAR stem. Frozen batch norms keep their statistics in train mode.
    Shape:
        (N, 3, H, W) -> (N, feat_dim). Half precision inside autocast still gives float32 results.
    Raises:
        ValueError, OSError: as `build_encoder`, and for names of its own that are unknown.
    """

    def __init__(
        self,
        arch: str = "resnet18",
        head: str = "mlp",
        feat_dim: int = 128,
        num_classes: int = 10,
        stem: str = "cifar",
        pretrained: bool = False,
        width: int = 64,
        train_layers: str | None = None,
    ) -> None:
        for name, given, known in (("architecture", arch, CIFAR_BLOCKS), ("head", head, HEADS)):
            if given not in known:
                raise ValueError(f"unknown {name} {given!r}; choose from {', '.join(known)}")
        if train_layers not in (None, "all"):
            raise ValueError(f"unknown train_layers {train_layers!r}; choose from None, 'all'")
        shape = {"arch": arch, "head": head, "feat_dim": feat_dim, "num_classes": num_classes, "width": width}
        config = {**shape, "stem": stem, "train_layers": train_layers}
        super().__init__(config, pretrained=pretrained, freeze=stem == "imagenet" and train_layers is None)
        dim = self.embedding_dim
        self.fc = nn.Linear(dim, num_classes)
        if head == "mlp":
            self.head = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(inplace=True), nn.Linear(dim, feat_dim))
        else:
            self.head = nn.Linear(dim, feat_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Unit embedding of the projection head, (N, feat_dim): what CompLoss and the prototypes live on."""
        return _unit(self.head(self._encode(x)))

    def features(self, x: Tensor) -> Tensor:
        """L2-normalised encoder output (N, D): what the paper scores with at test time."""
        return _unit(self._encode(x))

    def logits(self, x: Tensor) -> Tensor:
        """Output of the classifier (N, num_classes); chance unless trained with cross-entropy."""
        return full_precision(self.fc(self._encode(x)))

    def outputs_from_penultimate(self, features: Tensor) -> dict[str, Tensor]:
        """What images of these penultimate features (N, D) have: those, unit embeddings, logits."""
        embedding, logits = _unit(self.head(features)), full_precision(self.fc(features))
        return {"penultimate": features, "embedding": embedding, "logits": logits}


def _unit(x: Tensor) -> Tensor:
    return F.normalize(full_precision(x), dim=1)
