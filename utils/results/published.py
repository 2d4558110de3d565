"""Published and user-reported numbers: results/published.csv, each with its source and how far it can be trusted."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from utils.files import REPOSITORY
from utils.results.aggregate import Cell, Group, Spread, by_columns, line
from utils.results.rows import Record, read

PUBLISHED = REPOSITORY / "results" / "published.csv"
METRICS = ("fpr95", "auroc", "aupr_in")
# What the numbers of a line have in common.
_SAME = (
    *("method", "variant", "arch", "id", "benchmark", "score", "epochs", "runs"),
    *("positive", "unlabelled", "source", "average_agrees"),
)


@dataclass(frozen=True, kw_only=True)
class Number(Record):
    """What one source says of one method on one OOD set, or as a mean over sets; percentages. See `rows.Row`.

    Attributes:
        method: as checkpoints name those of this repository; others as tables have them.
        variant: which of several, in words.    arch, epochs: how it was trained, where that is known.
        ood: name of a set, or one of MEANS.    runs: how many, where the source says it.
        mark: how it is known: "table", read off a published one; "code", stated by the authors beside their code; or
            one of tables.MARKS.
        average_agrees: the mean of the row's cells is the published mean: "yes", or empty where the source gives none.
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

    def cell(self) -> Cell:
        """Its numbers, with as many decimals as the source gives."""
        return {
            metric: Spread(value, getattr(self, f"{metric}_std"), decimals=-value.as_tuple().exponent)
            for metric in METRICS
            if (value := getattr(self, metric)) is not None
        }


def lines(path: Path = PUBLISHED) -> list[Group]:
    """The lines of the published tables, in their order: what one source says of one method on all sets."""
    return [
        line(
            dict(zip(_SAME, facts, strict=True)),
            rows,
            {row.ood: row.cell() for row in rows},
            marks={row.ood: row.mark for row in rows},
        )
        for facts, rows in by_columns(read(path, Number), _SAME).items()
    ]


def on(lines: Sequence[Group], id_name: str, benchmark: str = "cider") -> list[Group]:
    """The published lines of an ID set and a benchmark, without those of a single set or mean that stand elsewhere."""
    found = [line for line in lines if (line.facts["id"], line.facts["benchmark"]) == (id_name, benchmark)]
    return [line for line in found if len(line.cells) + len(line.means) > 1] or found
