"""Published and user-reported numbers: results/published.csv, each with its source and how far it can be trusted."""

from collections.abc import Mapping
from pathlib import Path

from utils.data.ood_table import find_ood_set
from utils.errors import UserError
from utils.files import REPOSITORY
from utils.results.aggregate import Group, Spread
from utils.results.rows import Row, number, read_csv

PUBLISHED = REPOSITORY / "results" / "published.csv"
METRICS = ("fpr95", "auroc", "aupr_in")
COLUMNS = (
    *("method", "variant", "architecture", "id", "ood", "score", "protocol", "runs"),
    *(name for metric in METRICS for name in (metric, f"{metric}_std")),
    *("positive", "unlabelled", "source", "mark", "average_agrees"),
)
# How a number is known; average_agrees: the mean of the row's cells is the published mean.
MARKS = {
    "table": "read off a published table",
    "code": "stated by the authors beside their code",
    "issue": "reported in a public issue thread",
    "recalled": "quoted from memory of the paper, its cells not checked against it",
}
# What else than a set `ood` may be: a mean that the source gives, or the benchmark's groups.
MEANS = ("mean (4)", "mean (5)", "mean (6)", "near", "far")
CIDER = "CIDER"
OPENOOD = "OpenOOD 1.5"


def read(path: Path = PUBLISHED) -> list[Row]:
    """All rows.

    Raises:
        UserError: other columns, or a row that `check` refuses.
    """
    return read_csv(path, COLUMNS, check)


def check(row: Mapping[str, str], where: str) -> None:
    """Raise a UserError, which begins with `where`, for a row without source, mark or number, or of an unknown set."""
    for name in ("method", "id", "ood", "protocol", "source"):
        if not row[name]:
            raise UserError(f"{where}: {name} is empty")
    if row["mark"] not in MARKS:
        raise UserError(f"{where}: mark is {row['mark'] or 'empty'}, not one of {', '.join(MARKS)}")
    if row["ood"] not in MEANS and find_ood_set(row["ood"]) is None:
        raise UserError(f"{where}: {row['ood']} is neither a set of the table nor one of {', '.join(MEANS)}")
    given = [name for metric in METRICS for name in (metric, f"{metric}_std") if row[name]]
    if not given:
        raise UserError(f"{where}: there is no number in it")
    for name in given:
        number(row[name], name, where)


def groups(rows: list[Row]) -> list[Group]:
    """The lines of the published tables, in their order: what one source says of one method on all sets."""
    same = ("method", "variant", "architecture", "id", "score", "protocol", "positive", "unlabelled", "source", "mark")
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[name] for name in same), []).append(row)
    return [
        Group(
            facts=dict(zip(same, key, strict=True)) | {"average_agrees": members[0]["average_agrees"]},
            runs=int(members[0]["runs"] or 0),
            cells={row["ood"]: _cell(row) for row in members},
        )
        for key, members in found.items()
    ]


def _cell(row: Row) -> dict[str, Spread]:
    return {
        metric: Spread(
            float(row[metric]), float(row[f"{metric}_std"]) if row[f"{metric}_std"] else None, decimals(row[metric])
        )
        for metric in METRICS
        if row[metric]
    }


def decimals(text: str) -> int:
    """Digits behind the point, so that a number is shown as its source gives it."""
    return len(text.partition(".")[2])
