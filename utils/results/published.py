"""Published and user-reported numbers: results/published.csv, each with its source and how far it can be trusted."""

from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path

from utils.data.ood_table import find_ood_set
from utils.errors import UserError
from utils.evaluation.benchmark import BENCHMARKS
from utils.files import REPOSITORY
from utils.results.aggregate import MEANS, Cell, Group, Spread
from utils.results.rows import read

PUBLISHED = REPOSITORY / "results" / "published.csv"
METRICS = ("fpr95", "auroc", "aupr_in")
# How a number is known; average_agrees: the mean of the row's cells is the published mean.
MARKS = {
    "table": "read off a published table",
    "code": "stated by the authors beside their code",
    "issue": "reported in a public issue thread",
    "recalled": "quoted from memory of the source, not checked against it",
}
# What the numbers of a line have in common.
_SAME = (
    *("method", "variant", "arch", "id", "benchmark", "score", "epochs", "runs"),
    *("positive", "unlabelled", "source", "average_agrees"),
)


@dataclass(frozen=True, kw_only=True)
class Number:
    """What one source says of one method on one OOD set, or as a mean over sets; percentages. See `rows.Row`.

    Attributes:
        method: as checkpoints name those of this repository; others as tables have them.
        variant: which of several, in words.    arch, epochs: how it was trained, where that is known.
        ood: name of a set, or one of MEANS.    runs: how many, where the source says it.
        mark: one of MARKS.    average_agrees: "yes", or empty where the source gives no mean over its sets.
    """

    method: str
    variant: str = ""
    arch: str = ""
    epochs: int | None = None
    id: str
    benchmark: str
    ood: str
    score: str = ""
    runs: int | None = None
    fpr95: Decimal | None = None
    fpr95_std: Decimal | None = None
    auroc: Decimal | None = None
    auroc_std: Decimal | None = None
    aupr_in: Decimal | None = None
    aupr_in_std: Decimal | None = None
    positive: str
    unlabelled: str = ""
    source: str
    mark: str
    average_agrees: str = ""

    def check(self, where: str) -> None:
        """Raise a UserError, which begins with `where`, for a row of an unknown set or mark, or without number."""
        if self.mark not in MARKS:
            raise UserError(f"{where}: mark is {self.mark}, not one of {', '.join(MARKS)}")
        if self.benchmark not in BENCHMARKS:
            raise UserError(f"{where}: benchmark is {self.benchmark}, not one of {', '.join(BENCHMARKS)}")
        if not (find_ood_set(self.ood) or self.ood in (*MEANS, *BENCHMARKS[self.benchmark].sets(self.id))):
            raise UserError(f"{where}: {self.ood} is neither a set of the table nor one of {', '.join(MEANS)}")
        if all(getattr(self, metric) is None for metric in METRICS):
            raise UserError(f"{where}: there is no number in it")


def lines(path: Path = PUBLISHED) -> list[Group]:
    """The lines of the published tables, in their order: what one source says of one method on all sets."""
    found: dict[tuple, list[Number]] = {}
    for row in read(path, Number):
        found.setdefault(tuple(getattr(row, name) for name in _SAME), []).append(row)
    return [
        Group(
            facts={name: value for name, value in asdict(members[0]).items() if name in _SAME},
            runs=members[0].runs or 0,
            cells={row.ood: _cell(row) for row in members if row.ood not in MEANS},
            means={row.ood: _cell(row) for row in members if row.ood in MEANS},
            sets={row.ood: row.ood for row in members if row.ood not in MEANS},
            marks={row.ood: row.mark for row in members},
        )
        for members in found.values()
    ]


def _cell(row: Number) -> Cell:
    """Numbers with as many decimals as the source gives."""
    return {
        metric: Spread(value, getattr(row, f"{metric}_std"), decimals=-value.as_tuple().exponent)
        for metric in METRICS
        if (value := getattr(row, metric)) is not None
    }
