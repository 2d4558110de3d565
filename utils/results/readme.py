"""Tables in README.md, made from the CSV files: each stands between `<!-- results: NAME -->` and `<!-- end -->`."""

import re
from collections.abc import Callable, Sequence
from functools import partial

from utils.errors import UserError
from utils.evaluation.grid import Grid, as_markdown
from utils.files import REPOSITORY
from utils.results.aggregate import Group, aggregate
from utils.results.published import CIDER, OPENOOD
from utils.results.rows import Row
from utils.results.tables import by_method, by_set

README = REPOSITORY / "README.md"
_BLOCK = re.compile(r"(<!-- results: (\S+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
# What a block shows of the groups of its experiment, and of all published lines.
Layout = Callable[[Sequence[Group], Sequence[Group]], list[Grid]]
PAPER = "paper"  # the experiment of full runs with the papers' settings


def fill(text: str, rows: Sequence[Row], published: Sequence[Group]) -> str:
    """The text of a README with its blocks made anew.

    Raises:
        UserError: a block that is not closed, or whose experiment has no rows.
    """
    if text.count("<!-- results: ") != len(_BLOCK.findall(text)):
        raise UserError(f"a block of {README.name} has no <!-- end -->")
    return _BLOCK.sub(lambda found: f"{found[1]}{block(found[2], rows, published)}{found[4]}", text)


def block(name: str, rows: Sequence[Row], published: Sequence[Group]) -> str:
    """Markdown of one block: the layout of that name, or else the experiment of that name, a line for each group."""
    experiment, layout = BLOCKS.get(name, (name, by_experiment))
    groups = aggregate(row for row in rows if experiment in row["experiment"].split())
    grids = layout(groups, published)
    if not grids and name in BLOCKS:
        return "No run of this kind has been gathered yet.\n"
    if not grids:
        raise UserError(f"README.md has a block {name}, but no row of results/measured.csv is of that experiment")
    return "\n".join(as_markdown(grid) for grid in grids)


def by_experiment(groups: Sequence[Group], published: Sequence[Group]) -> list[Grid]:
    """FPR95 and AUROC of each group on each set, ID accuracy and geometry."""
    if not groups:
        return []
    embedding = [
        name
        for name in ("id_accuracy_knn", "dispersion", "compactness")
        if any(name in group.cells["run"] for group in groups)
    ]
    return [by_method(groups, published, embedding=embedding)]


def _sets_of_each(groups: Sequence[Group], published: Sequence[Group], metrics: Sequence[str]) -> list[Grid]:
    return [by_set(group, metrics=metrics) for group in groups]


def _with_columns(groups: Sequence[Group], published: Sequence[Group], columns: Sequence[str]) -> list[Grid]:
    return [by_method(groups, columns=columns)] if groups else []


def _metrics_apart(groups: Sequence[Group], published: Sequence[Group]) -> list[Grid]:
    """AUROC with ID accuracy and geometry, and FPR95 in a table of its own: for many sets."""
    if not groups:
        return []
    embedding = ("id_accuracy_knn", "dispersion", "compactness")
    return [by_method(groups, metrics=("auroc",), embedding=embedding), by_method(groups, metrics=("fpr95",))]


def _paper(
    groups: Sequence[Group],
    published: Sequence[Group],
    id_name: str,
    protocol: str,
    metrics: Sequence[str] = ("fpr95", "auroc"),
) -> list[Grid]:
    """Full runs of ours beside the published lines, and then all published lines of a protocol, sets in common."""
    ours = [group for group in groups if group.facts["id"] == id_name]
    lines = published_lines(published, id_name, protocol)
    return ([by_method(ours, lines)] if ours else []) + [by_method(lines, metrics=metrics)]


def published_lines(published: Sequence[Group], id_name: str, protocol: str) -> list[Group]:
    """The published lines of an ID set by one protocol, without those of single sets that stand elsewhere."""
    of_protocol = [line for line in published if (line.facts["id"], line.facts["protocol"]) == (id_name, protocol)]
    return [line for line in of_protocol if len(line.cells) > 1] or of_protocol


# Block -> its experiment, and what it shows of it.
BLOCKS: dict[str, tuple[str, Layout]] = {
    "digits-demo": ("digits-demo", partial(_sets_of_each, metrics=("fpr95", "auroc", "aupr_in"))),
    "digits-vos": ("digits-vos", partial(_with_columns, columns=("digits-6-9", "photographs", "gaussian-noise"))),
    "cifar10-short": ("cifar10-short", partial(_sets_of_each, metrics=("fpr95", "auroc"))),
    "cifar10-small": ("cifar10-small", _metrics_apart),
    "cifar10": (PAPER, partial(_paper, id_name="CIFAR-10", protocol=CIDER)),
    "cifar100": (PAPER, partial(_paper, id_name="CIFAR-100", protocol=CIDER)),
    "imagenet100": (
        PAPER,
        partial(_paper, id_name="ImageNet-100", protocol=CIDER, metrics=("fpr95", "auroc", "aupr_in")),
    ),
    "vos": (PAPER, partial(_paper, id_name="CIFAR-10", protocol="VOS")),
    "mcd": (PAPER, partial(_paper, id_name="CIFAR-10", protocol="MCD")),
    "openood-cifar10": ("", partial(_paper, id_name="CIFAR-10", protocol=OPENOOD, metrics=("auroc",))),
    "openood-cifar100": ("", partial(_paper, id_name="CIFAR-100", protocol=OPENOOD, metrics=("auroc",))),
}
