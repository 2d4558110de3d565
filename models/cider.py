"""CIDERNet: an encoder, the projection head that CIDER trains, and a classifier kept for its name in checkpoints."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.archs import BOTTLENECK_ARCHS, CIFAR_BLOCKS, IMAGENET_ARCHS
from models.encoders import build_encoder, full_precision
from models.resnet import IMAGENET_LAYER4

HEADS = ("mlp", "linear")


class CIDERNet(nn.Module):
    """Network of CIDER (Ming et al. 2023, section 3): encoder f, projection head h, unit embedding h(f(x)) / |h(f(x))|.

    `fc` is trained by the cross-entropy baseline alone; CIDER and SupCon leave it as it was drawn.

    Args:
        arch: "resnet18", "resnet34", "resnet50", "resnet101"; with the ImageNet stem "resnet34" or "resnet50".
        head: "mlp" (D - ReLU - feat_dim) or "linear".
        stem: "cifar" (3x3, no max-pool) or "imagenet" (torchvision's network).
        pretrained: start from torchvision's ImageNet weights; ImageNet stem only.
        width: channels of the first stage; CIFAR stem only.
        train_layers: "all" trains everything. None trains layer4, fc and head behind the ImageNet stem, as in the
            paper, and everything behind the CIFAR stem. Frozen batch norms keep their statistics in train mode.
    Shape:
        (N, 3, H, W) -> (N, feat_dim). Half precision inside autocast still gives float32 results.
    Raises:
        ValueError: an unknown name, or settings that do not fit together.
        OSError: the ImageNet weights cannot be had.
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
        super().__init__()
        for name, given, known in (("architecture", arch, CIFAR_BLOCKS), ("head", head, HEADS)):
            if given not in known:
                raise ValueError(f"unknown {name} {given!r}; choose from {', '.join(known)}")
        if train_layers not in (None, "all"):
            raise ValueError(f"unknown train_layers {train_layers!r}; choose from None, 'all'")
        self.encoder, dim = build_encoder(arch, stem=stem, width=width, pretrained=pretrained)
        self.fc = nn.Linear(dim, num_classes)
        if head == "mlp":
            self.head = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(inplace=True), nn.Linear(dim, feat_dim))
        else:
            self.head = nn.Linear(dim, feat_dim)
        self.embedding_dim = dim
        self.config = {
            "arch": arch,
            "head": head,
            "feat_dim": feat_dim,
            "num_classes": num_classes,
            "stem": stem,
            "pretrained": False,  # a rebuilt network gets its weights from the checkpoint
            "width": width,
            "train_layers": train_layers,
        }
        self._partly_frozen = stem == "imagenet" and train_layers is None
        if self._partly_frozen:
            self.encoder[:IMAGENET_LAYER4].requires_grad_(False)
            self.train(self.training)

    def forward(self, x: Tensor) -> Tensor:
        """Unit embedding of the projection head, (N, feat_dim): what CompLoss and the prototypes live on."""
        return _unit(self.head(self._encode(x)))

    def penultimate(self, x: Tensor) -> Tensor:
        """Encoder output (N, D), not normalised."""
        return full_precision(self._encode(x))

    def features(self, x: Tensor) -> Tensor:
        """L2-normalised encoder output (N, D): what the paper scores with at test time."""
        return _unit(self._encode(x))

    def logits(self, x: Tensor) -> Tensor:
        """Output of the classifier (N, num_classes); chance unless trained with cross-entropy."""
        return full_precision(self.fc(self._encode(x)))

    def outputs(self, x: Tensor) -> dict[str, Tensor]:
        """All that an evaluation needs, from one forward pass: penultimate (N, D), embedding (unit), logits."""
        return self.outputs_from_penultimate(self.penultimate(x))

    def outputs_from_penultimate(self, features: Tensor) -> dict[str, Tensor]:
        """What `outputs` has for images of these penultimate features (N, D)."""
        return {
            "penultimate": features,
            "embedding": _unit(self.head(features)),
            "logits": full_precision(self.fc(features)),
        }

    def train(self, mode: bool = True) -> "CIDERNet":
        """Set train or eval mode; what is frozen stays in eval mode, so that its batch-norm statistics stay, too."""
        super().train(mode)
        if self._partly_frozen:
            self.encoder[:IMAGENET_LAYER4].eval()
        return self

    def _encode(self, x: Tensor) -> Tensor:
        return self.encoder(x).flatten(1)


def config_from_state_dict(state_dict: Mapping[str, Tensor]) -> dict:
    """Constructor arguments of the CIDERNet that a state dict belongs to, from names and shapes alone.

    Reads files that carry no metadata, such as the official ones. Names without `module.` in front.

    Raises:
        ValueError: it is no state dict of a CIDERNet; the message has the reason.
    """
    stem = "imagenet" if "encoder.0.weight" in state_dict else "cifar"
    first = "encoder.0.weight" if stem == "imagenet" else "encoder.conv1.weight"
    head = "linear" if "head.weight" in state_dict else "mlp"
    last = "head.weight" if head == "linear" else "head.2.weight"
    for name in (first, last, "fc.weight"):
        if name not in state_dict:
            raise ValueError(f"not the weights of a CIDERNet: {name} is missing.")
    config = {
        "arch": _arch_of(state_dict, stem),
        "head": head,
        "feat_dim": state_dict[last].shape[0],
        "num_classes": state_dict["fc.weight"].shape[0],
        "stem": stem,
        "width": state_dict[first].shape[0],
    }
    with torch.device("meta"):
        expected = {name: tensor.shape for name, tensor in CIDERNet(**config).state_dict().items()}
    found = {name: tensor.shape for name, tensor in state_dict.items()}
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        raise ValueError(
            f"not the weights of a CIDERNet with {config['arch']}: {len(wrong)} names are missing, unknown "
            f"or of another shape, first {wrong[0]}."
        )
    return config


def _arch_of(state_dict: Mapping[str, Tensor], stem: str) -> str:
    stages = [f"encoder.{4 + s}." if stem == "imagenet" else f"encoder.layer{1 + s}." for s in range(4)]
    depths = tuple(len({n[len(s) :].split(".")[0] for n in state_dict if n.startswith(s)}) for s in stages)
    bottleneck = f"{stages[0]}0.conv3.weight" in state_dict
    for arch in CIFAR_BLOCKS if stem == "cifar" else IMAGENET_ARCHS:
        if CIFAR_BLOCKS[arch] == depths and (arch in BOTTLENECK_ARCHS) == bottleneck:
            return arch
    raise ValueError(f"not the weights of a CIDERNet: no ResNet with the {stem} stem has stages of {depths} blocks.")


def _unit(x: Tensor) -> Tensor:
    return F.normalize(full_precision(x), dim=1)
