"""The OOD sets of an evaluation, each with what is known of it beside its name."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

from utils.data.id_sets import IDData
from utils.data.images import ImageSet
from utils.data.ood_sets import MissingSet, load_ood
from utils.data.ood_table import find_ood_set
from utils.errors import UserError
from utils.evaluation.benchmark import Benchmark
from utils.evaluation.grid import Missing
from utils.files import REPOSITORY


@dataclass(frozen=True)
class OODImages:
    """An OOD set as it is scored.

    Attributes:
        name: as shown; it says what else than the official set this is, and which part is scored.
        images: those that are scored.
        of: name in the table of OOD sets; "" for a folder of one's own.
        whole: `name` of the set before a part of it was chosen.    total: its images.
        official: it is a whole set of the benchmark, and counts for the mean.    group: of the benchmark; "" for none.
    """

    name: str
    images: ImageSet
    of: str
    whole: str
    total: int
    official: bool
    group: str


@dataclass(frozen=True)
class OODSets:
    """Those that are there, in the order of the table, and those that are not."""

    sets: tuple[OODImages, ...]
    missing: tuple[Missing, ...] = ()


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
        UserError: none is there, or two have one name.
    """
    found: dict[str, OODImages] = {}
    missing = []
    for name in wanted:
        try:
            row = None if "=" in name else find_ood_set(name)
            of = row.name if row else ""
            group = benchmark.group_of(of, data.name)
            by_lists = benchmark.lists and group
            images = lists_of(benchmark).load_set(of, data, root) if by_lists else load_ood(name, data, root, seed=seed)
        except MissingSet as error:
            reason = str(error).replace(f"{REPOSITORY}/", "")  # it stands in files that leave this machine
            missing.append(Missing(error.name, reason))
            continue
        if images.name in found:
            raise UserError(f"two OOD sets are called {images.name}; give one another name by NAME=PATH")
        found[images.name] = OODImages(
            name=images.name,
            images=images,
            of=of,
            whole=images.name,
            total=len(images),
            official=images.official_complete and bool(group),
            group=group,
        )
    if not found:
        raise UserError("no OOD set was found.\n" + "\n".join(each.reason for each in missing))
    return OODSets(tuple(found.values()), tuple(missing))
