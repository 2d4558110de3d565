"""The methods that train a network here: one record each, which checkpoints, detectors, tables and results read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Method:
    """What is known of a method.

    Attributes:
        name: as checkpoint files have it.
        label: as tables show it.
        network: class of the network that it trains; a method may train two, and then has two records.
        score: how what it trained is scored where nothing else is asked for, as in its paper.
        trains_classifier: the network's classifier is more than it was drawn as.
        sees_unlabelled: it is trained on unlabelled test images beside the ID training set.
        settings: what a training uses where neither the command line nor the record of the ID set says anything, as far
            as it differs from the common settings in utils/cli/settings.py.
    """

    name: str
    label: str
    network: str
    score: str
    trains_classifier: bool = True
    sees_unlabelled: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


# The first of each network is the one whose official code leaves files that do not name their method.
METHODS = (
    Method(
        "cider",
        "CIDER",
        "CIDERNet",
        "knn",
        trains_classifier=False,
        settings=dict(prototype_init="class-means", lr_decay_epochs=(100, 150, 180), warmup="linear", warmup_epochs=10),
    ),
    # CIDERNet's others have CIDER's settings but for their own.
    Method("supcon", "SupCon", "CIDERNet", "knn", trains_classifier=False),
    Method(
        "palm",
        "PALM",
        "CIDERNet",
        "maha++",
        trains_classifier=False,
        # OpenOOD's, which has no others than these for CIFAR; elsewhere batch and rate are those of CIDER.
        settings=dict(prototype_init=None, proto_m=0.9, w=1.0, cache_size=6, nearest=5),
    ),
    Method("ce", "Cross-entropy", "CIDERNet", "knn"),
    Method(
        "vos",
        "VOS",
        "VOSNet",
        "energy",
        settings=dict(
            model="wrn-40-2",
            train_layers="all",
            feat_dim=0,
            epochs=100,
            batch_size=128,
            learning_rate=0.1,
            lr_decay_epochs=(50, 75, 90),
            warmup_epochs=5,
            weight_decay=5e-4,
            sample_number=1000,
            seed=1,
        ),
    ),
    Method("ce", "Cross-entropy", "VOSNet", "energy"),
    Method(
        "mcd",
        "MCD",
        "MCDNet",
        "discrepancy",
        sees_unlabelled=True,
        settings=dict(
            model="densenet-bc-100-12",
            train_layers="all",
            epochs=10,
            batch_size=128,
            learning_rate=0.01,
            cosine=False,
            lr_decay_epochs=(),
            warmup_epochs=1,
            seed=1,
            pretrain_epochs=300,
            pretrain_batch_size=64,
            pretrain_learning_rate=0.1,
            pretrain_weight_decay=5e-4,
        ),
    ),
    Method("mcd-pretrain", "MCD (pre-trained)", "MCDNet", "discrepancy"),
)


def find_method(network: str, name: str | None = None) -> Method:
    """The method of that name for a network's class; without a name that of the network's official code.

    Raises:
        ValueError: there is none.
    """
    of_network = [method for method in METHODS if method.network == network]
    for method in of_network:
        if name in (None, method.name):
            return method
    known = ", ".join(method.name for method in of_network)
    raise ValueError(f"it says that a {network} was trained by the method {name!r}; known are {known}")
