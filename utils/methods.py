"""The methods that train a network here: one record each, which checkpoints, detectors, tables and results read."""

from dataclasses import dataclass


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
    """

    name: str
    label: str
    network: str
    score: str
    trains_classifier: bool = True
    sees_unlabelled: bool = False


# The first of each network is the one whose official code leaves files that do not name their method.
METHODS = (
    Method("cider", "CIDER", "CIDERNet", "knn", trains_classifier=False),
    Method("supcon", "SupCon", "CIDERNet", "knn", trains_classifier=False),
    Method("palm", "PALM", "CIDERNet", "maha++", trains_classifier=False),
    Method("ce", "Cross-entropy", "CIDERNet", "knn"),
    Method("vos", "VOS", "VOSNet", "energy"),
    Method("ce", "Cross-entropy", "VOSNet", "energy"),
    Method("mcd", "MCD", "MCDNet", "discrepancy", sees_unlabelled=True),
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
