"""The benchmarks that an evaluation can follow: one record each, which evaluation, tables and results read.

A new one is a record here; if its images are chosen by lists of its own, a loader in utils/data gives them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from utils.data.id_records import ID_SETS
from utils.data.ood_table import OPENOOD_COUNTS, OPENOOD_FILES, find_ood_set

CIFARS = ("CIFAR-10", "CIFAR-100")


@dataclass(frozen=True)
class Benchmark:
    """What a benchmark lays down.

    Attributes:
        name: of the option.    label: as tables have it.    notes: for below its tables.
        positive: "ID" or "OOD", the class that its FPR95 calls positive.
        groups: ID set -> group, which has a mean ("mean", "near", "far") -> its OOD sets in their order.
        counts: ID set -> OOD set -> images of a whole one, where the benchmark has others than the table of sets.
        files: OOD set -> the one of the table that has its images, where that is another.
        lists: module of a benchmark that chooses its images by lists, with `load_set`, `id_rows`, `validation_set` and
            `lists_sha256`; "" for the sets of the table and the whole ID test set.
        neighbours: candidates for K of the KNN score, of which the best on validation images of `lists` is taken, ties
            to the smaller; () for the K of the ID set.
    """

    name: str
    label: str
    positive: str
    groups: Mapping[str, Mapping[str, tuple[str, ...]]]
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    lists: str = ""
    neighbours: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    def sets(self, id_name: str) -> list[str]:
        """Its OOD sets for an ID set; none where it has no such ID set."""
        return [name for members in self.groups.get(id_name, {}).values() for name in members]

    def group_of(self, ood_name: str, id_name: str) -> str:
        """The group that an OOD set, by its name in the table, counts for; "" for none."""
        groups = self.groups.get(id_name, {})
        return next((group for group, members in groups.items() if ood_name in members), "")

    def count(self, ood_name: str, id_name: str) -> int | None:
        """Images of a whole set of this benchmark, by its name in the table; None where it depends."""
        row = find_ood_set(ood_name)
        return self.counts.get(id_name, {}).get(ood_name, row.count if row else None)


_ODIN = ("TinyImageNet_crop", "TinyImageNet_resize", "LSUN", "LSUN_resize", "iSUN")
_FAR = ("MNIST", "SVHN", "dtd", "places365")
BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(
            "cider",
            label="CIDER's OOD sets",
            positive="ID",
            groups={name: {"mean": record.ood} for name, record in ID_SETS.items()},
        ),
        Benchmark(
            "openood",
            label="OpenOOD v1.5",
            positive="OOD",
            groups={
                "CIFAR-10": {"near": ("CIFAR-100", "TIN"), "far": _FAR},
                "CIFAR-100": {"near": ("CIFAR-10", "TIN"), "far": _FAR},
            },
            counts=OPENOOD_COUNTS,
            files=OPENOOD_FILES,
            lists="utils.data.openood",
            neighbours=(50, 100, 200, 500, 1000),
            notes=(
                "images by OpenOOD's lists; which number is which CIFAR image is not verified, so metrics.json has the "
                "figures on the whole ID test set, too",
                "AUPR is average precision here and by trapezoids there: the two do not compare",
                "OpenOOD trains otherwise: prototypes started on ID validation images, the negative warm-up epoch, "
                "statistics of each set, w = 2 on both sets, and the epoch of lowest training loss is evaluated",
            ),
        ),
        Benchmark(
            "odin", label="ODIN's OOD sets", positive="ID", groups={id_name: {"mean": _ODIN} for id_name in CIFARS}
        ),
    )
}
