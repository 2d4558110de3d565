"""Networks in the files of other code: the same ones under other names, without what that code had no use for.

| code                                        | names                                                              |
|---------------------------------------------|--------------------------------------------------------------------|
| CIDER (deeplearning-wisc/cider)             | encoder.*, fc.*, head.*: those of CIDERNet                         |
| VOS (deeplearning-wisc/vos)                 | conv1.*, block1.*, fc.*: those of VOSNet                           |
| SupContrast (HobbitLong/SupContrast)        | encoder.*, head.*, no fc; its cross-entropy: encoder.*, fc.*       |
| KNN (deeplearning-wisc/knn-ood)             | conv1.*, layer1.*, downsample, fc.*; its SupCon has head.*, too    |
| OpenOOD (Jingkang50/OpenOOD)                | conv1.*, layer1.*, fc.*; its CIDER: backbone.*, head.*             |

A ResNet with a classifier and no projection head is what train_vos.py calls its cross-entropy baseline.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.archs import ARCHS, CIFAR_BLOCKS, IMAGENET_ARCHS
from models.cider import CIDERNet
from models.mcd import MCDNet
from models.vos import VOSNet

NETWORKS = {network.__name__: network for network in (CIDERNet, VOSNet, MCDNet)}

# What torch.compile and the data-parallel wrappers put before the names of what they wrap, at any depth.
_WRAPPERS = frozenset({"module", "_orig_mod"})
_STAGES = frozenset({"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"})

# Mean and standard deviation that the other codes normalise CIFAR images by, by name of the set as SupContrast has it.
_SUPCONTRAST = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
}
_OPENOOD = {10: ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)), 100: _SUPCONTRAST["cifar100"]}


@dataclass(frozen=True)
class ForeignNetwork:
    """What a file of other code holds.

    Attributes:
        network: the class here whose weights these are, under the names that it loads.
        method: as in utils.methods.
        normalisation: mean and standard deviation of the channels on 0..1 that it was trained with, or None where
            neither the file nor its code says so, or where they are those that this code uses itself.
    """

    network: str
    method: str
    weights: dict[str, Tensor]
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None = None


def unwrapped(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The entries without `module.` and `_orig_mod.` in their names, and with the counters that old files leave out.

    Raises:
        ValueError: two entries then have one name.
    """
    weights = {}
    for name, value in state_dict.items():
        plain = ".".join(part for part in name.split(".") if part not in _WRAPPERS)
        if plain in weights:
            raise ValueError(f"two of its weights are called {plain}")
        weights[plain] = value
    norms = (name.removesuffix("running_mean") for name in weights if name.endswith("running_mean"))
    return {f"{norm}num_batches_tracked": torch.tensor(0) for norm in norms} | weights


def recognise(weights: Mapping[str, Tensor], options: Mapping[str, Any]) -> ForeignNetwork:
    """The network here that `unwrapped` weights without a word about them belong to, from their names.

    Args:
        options: of the training's command line, where the file has them.
    """
    if {"head1.weight", "head2.weight"} <= weights.keys():
        return ForeignNetwork("MCDNet", "mcd", dict(weights))
    if "block1.layer.0.bn1.weight" in weights:
        return ForeignNetwork("VOSNet", "vos", dict(weights))
    named = {_resnet_name(name): value for name, value in weights.items()}
    if "encoder.layer1.0.conv1.weight" not in named:
        return ForeignNetwork("CIDERNet", "cider", dict(weights))
    normalisation = _normalisation(weights, len(named.get("fc.weight", ())), options)
    if not _has(named, "head"):
        network = {name.removeprefix("encoder."): value for name, value in named.items()}
        return ForeignNetwork("VOSNet", "vos" if "energy" in named else "ce", network, normalisation)
    # SupContrast and knn-ood have names of their own, which neither CIDER nor OpenOOD's CIDER has.
    of_supcon = _of_knn_ood(weights) or (_has(weights, "encoder") and not _has(weights, "fc"))
    method = str(options.get("method", "supcon" if of_supcon else "cider")).casefold()
    return ForeignNetwork("CIDERNet", method, _with_classifier(named), normalisation)


def config_from_state_dict(network: str, weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Constructor arguments of the network that weights without metadata belong to, from names and shapes alone.

    Raises:
        ValueError: they are those of no architecture known here; the message has what differs from the closest one.
    """
    found = {name: tensor.shape for name, tensor in weights.items()}
    closest: list[str] = sorted(found)
    try:
        for config in _possible_configs(network, found):
            with torch.device("meta"):
                expected = {name: value.shape for name, value in NETWORKS[network](**config).state_dict().items()}
            wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
            if not wrong:
                return config
            closest = min(closest, wrong, key=len)
    except KeyError as error:
        raise ValueError(f"not the weights of a {network}: {error.args[0]} is missing.") from None
    raise ValueError(
        f"not the weights of a {network} known here: {len(closest)} names are missing, unknown or of another shape "
        f"in the closest one, first {closest[0]}."
    )


def _possible_configs(network: str, found: Mapping[str, torch.Size]) -> Iterator[dict[str, Any]]:
    """Arguments for every architecture, the others as these names and shapes have them; KeyError without such names."""
    imagenet = "encoder.0.weight" in found
    config = {"num_classes": found["head1.weight" if network == "MCDNet" else "fc.weight"][0]}
    if network == "CIDERNet":
        head = "linear" if "head.weight" in found else "mlp"
        last = "head.weight" if head == "linear" else "head.2.weight"
        config |= {"head": head, "feat_dim": found[last][0], "stem": "imagenet" if imagenet else "cifar"}
    if network == "VOSNet":
        config["uncertainty"] = "energy" in found
    stem = "conv1.weight" if network == "VOSNet" else "encoder.conv1.weight"
    archs = CIFAR_BLOCKS if network == "CIDERNet" else ARCHS
    for arch in IMAGENET_ARCHS if imagenet else archs:
        width = {"width": found[stem][0]} if arch in CIFAR_BLOCKS and not imagenet else {}
        yield {"arch": arch, **config, **width}


def _resnet_name(name: str) -> str:
    """CIDERNet's name for an entry of a CIFAR ResNet."""
    first, _, rest = name.partition(".")
    if first == "backbone" or (first == "encoder" and rest.startswith("fc.")):
        return rest if rest.startswith("fc.") else f"encoder.{rest}"
    name = f"encoder.{name}" if first in _STAGES else name
    return name.replace(".downsample.", ".shortcut.") if name.startswith("encoder.layer") else name


def _with_classifier(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """With an fc for no class at all where the file has none: nobody knows how many it was trained on."""
    last = weights.get("head.weight", weights.get("head.0.weight"))
    if _has(weights, "fc") or last is None:
        return weights
    return weights | {"fc.weight": torch.empty(0, last.shape[1]), "fc.bias": torch.empty(0)}


def _normalisation(
    weights: Mapping[str, Tensor], classes: int, options: Mapping[str, Any]
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    if options.get("dataset") == "path":
        mean, std = (tuple(map(float, str(options[name]).strip("()[] ").split(","))) for name in ("mean", "std"))
        return mean, std
    if "dataset" in options:
        return _SUPCONTRAST.get(str(options["dataset"]))
    if _of_knn_ood(weights):
        return _SUPCONTRAST["cifar10"]  # for both sets
    return None if _has(weights, "encoder") else _OPENOOD.get(classes)


def _of_knn_ood(names: Iterable[str]) -> bool:
    return any(".downsample." in name for name in names)


def _has(names: Iterable[str], child: str) -> bool:
    return any(name.startswith(f"{child}.") for name in names)
