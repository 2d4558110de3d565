"""The OOD sets of an evaluation, each with what is known of it beside its name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType

from utils.data.id_sets import IDData
from utils.data.images import ImageSet
from utils.data.ood_sets import MissingSet, load_ood
from utils.data.ood_table import find_ood_set
from utils.errors import UserError
from utils.evaluation.benchmark import Benchmark
from utils.evaluation.evaluation import ID_TEST, ID_TRAIN, WHOLE_ID_TEST
from utils.files import REPOSITORY


@dataclass(frozen=True)
class OODImages:
    """An OOD set as it is scored.

    Attributes:
        images: those that are scored.    whole: all of the set, of which they may be a part.
        of: name in the table of OOD sets; "" for a folder of one's own.
        official: it is a whole set of the benchmark, and counts for the mean.    group: of the benchmark; "" for none.
    """

    images: ImageSet
    whole: ImageSet
    of: str = ""
    official: bool = False
    group: str = ""

    @property
    def name(self) -> str:
        """As shown; it says what else than the official set this is, and which part is scored."""
        return self.images.name


@dataclass(frozen=True)
class OODSets:
    """Those that are there, in the order of the table, and those that are not -> why, on one line."""

    sets: tuple[OODImages, ...]
    missing: Mapping[str, str] = field(default_factory=dict)


def lists_of(benchmark: Benchmark) -> ModuleType:
    """The module that chooses a benchmark's images."""
    return import_module(benchmark.lists)


def load_ood_sets(
    data: IDData, wanted: Sequence[str], root: Path | None, *, benchmark: Benchmark, seed: int
) -> OODSets:
    """Load the OOD sets that are there.

    Args:
        wanted: names of the table, or NAME=PATH.    root: folder that holds them; None for the default place.
    Raises:
        UserError: none is there, or two have one name, which may be that of ID images.
    """
    found: dict[str, OODImages] = {}
    missing: dict[str, str] = {}
    for name in wanted:
        row = None if "=" in name else find_ood_set(name)
        of = row.name if row else ""
        group = benchmark.group_of(of, data.name)
        try:
            by_lists = benchmark.lists and group
            images = lists_of(benchmark).load_set(of, data, root) if by_lists else load_ood(name, data, root, seed=seed)
        except MissingSet as error:
            missing[error.name] = str(error)
            continue
        if images.name in (*found, ID_TRAIN, ID_TEST, WHOLE_ID_TEST):
            raise UserError(f"two sets of images are called {images.name}; give one another name by NAME=PATH")
        official = images.official_complete and bool(group)
        found[images.name] = OODImages(images, images, of, official, group)
    if not found:
        raise UserError("no OOD set was found.\n" + "\n".join(missing.values()))
    return OODSets(tuple(found.values()), {name: _one_line(reason) for name, reason in missing.items()})


def _one_line(reason: str) -> str:
    lines = reason.replace(f"{REPOSITORY}/", "").splitlines()  # it stands in files that leave this machine
    return "; ".join(" ".join(line.split()).rstrip(".") for line in lines)
