"""Tables in README.md, docs/ and results/README.md, made from the CSV files.

Each stands between `<!-- results: NAME -->` and `<!-- end -->`.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from utils.errors import UserError
from utils.evaluation.grid import Grid, as_markdown
from utils.files import REPOSITORY, atomic_write
from utils.results import published
from utils.results.aggregate import Group, aggregate
from utils.results.card import card
from utils.results.differences import DIFFERENCES, Difference
from utils.results.differences import tables as difference_tables
from utils.results.rows import PAPER, Row, read
from utils.results.tables import EMBEDDING, by_experiment, by_method, counterparts, metrics_apart
from utils.zoo import MODELS

PAGES = tuple(
    REPOSITORY / page
    for page in (
        *("README.md", "docs/results.md", "docs/methods.md", "results/README.md"),
        *(f"{model.place}/card.md" for model in MODELS.values() if "://" not in model.place),
    )
)
_BLOCK = re.compile(r"(<!-- results: (\S+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
# What a block shows of the groups of its experiment, and of all published lines.
Layout = Callable[[Sequence[Group], Sequence[Group]], list[Grid]]
# Those of networks with OpenOOD's 100 epochs on CIFAR-10, and with CIDER's 500.
E_100, E_500 = "cifar10-e100", "cifar10-e500"
OBJECTIVES = "cifar10-objectives"
FRONT = ("knn", "ssd")  # scores of ours in README.md


def fill_pages() -> dict[str, bool]:
    """Make the blocks of all pages anew; the name of each page, and whether it has changed."""
    sources = read(), published.lines(), read(DIFFERENCES, Difference)
    changed = {}
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        new = fill(text, *sources)
        changed[path.relative_to(REPOSITORY).as_posix()] = new != text
        if new != text:
            with atomic_write(path, "w") as stream:
                stream.write(new)
    return changed


def fill(text: str, rows: Sequence[Row], lines: Sequence[Group], differences: Sequence[Difference] = ()) -> str:
    """The text of a page with its blocks made anew.

    Raises:
        UserError: a block that is not closed, or whose experiment has no rows.
    """
    if text.count("<!-- results: ") != len(_BLOCK.findall(text)):
        raise UserError("a block of results has no <!-- end -->")
    return _BLOCK.sub(lambda found: f"{found[1]}{block(found[2], rows, lines, differences)}{found[4]}", text)


def block(name: str, rows: Sequence[Row], lines: Sequence[Group], differences: Sequence[Difference] = ()) -> str:
    """Markdown of one block: the layout of that name, or else the experiment of that name, a line for each group.

    `card:NAME` is the card of a model.
    Below stand the differences of the experiment, where there are any.
    """
    if name.startswith("card:"):
        return card(name.removeprefix("card:"), rows)
    experiments, layout = BLOCKS.get(name, ((name,), by_experiment))
    groups = aggregate(row for row in rows if not set(experiments).isdisjoint(row.experiment.split()))
    grids = layout(groups, lines)
    if not grids and name not in BLOCKS:
        raise UserError(f"there is a block {name}, but no row of results/measured.csv is of that experiment")
    grids += difference_tables([row for row in differences if name in row.experiment.split()])
    return "\n".join(as_markdown(grid) for grid in grids)


def _beside(
    id_name: str,
    benchmark: str = "cider",
    metrics: Sequence[str] = ("fpr95", "auroc"),
    embedding: Sequence[str] = (),
    scores: Sequence[str] = (),
) -> Layout:
    """Runs of ours, all or those `scores`, beside the published lines of that ID set and benchmark.

    Published lines of the same method stand below ours.
    """

    def layout(groups: Sequence[Group], lines: Sequence[Group]) -> list[Grid]:
        ours = [group for group in groups if (group.facts["id"], group.facts["benchmark"]) == (id_name, benchmark)]
        ours = [group for group in ours if not scores or group.facts["score"] in scores]
        lines = published.on(lines, id_name, benchmark)
        beside_ours = [line for group in ours for line in counterparts(group, lines)]
        shown = [*ours, *(line for line in lines if line not in beside_ours)]
        return [by_method(shown, lines, metrics=metrics, embedding=embedding)]

    return layout


def _of_vos(groups: Sequence[Group], lines: Sequence[Group]) -> list[Grid]:
    """The published means over the six sets of VOS's paper."""
    return [by_method([line for line in lines if "mean (6)" in line.means])]


def _by_objective(groups: Sequence[Group], lines: Sequence[Group]) -> list[Grid]:
    """AUROC by KNN on OpenOOD's lists; README.md says beside it what stands in footers elsewhere."""
    ours = [group for group in groups if (group.facts["benchmark"], group.facts["score"]) == ("openood", "knn")]
    return [replace(by_method(ours, metrics=("auroc",), embedding=EMBEDDING[:1]), footer=())]


# Block -> its experiments, which may have no rows yet, and what it shows of them.
BLOCKS: dict[str, tuple[tuple[str, ...], Layout]] = {
    "cifar10-small": (("cifar10-small",), metrics_apart),
    "cifar10-openood": ((E_100, E_500), _beside("CIFAR-10", "openood", ("auroc",), EMBEDDING[:1], FRONT)),
    "objectives": ((OBJECTIVES,), _by_objective),
    "cifar100-openood": ((PAPER,), _beside("CIFAR-100", "openood", ("auroc",))),
    "cifar10": ((PAPER, E_100, E_500), _beside("CIFAR-10", scores=FRONT)),
    "cifar100": ((PAPER,), _beside("CIFAR-100")),
    "imagenet100": ((PAPER,), _beside("ImageNet-100", metrics=("fpr95", "auroc", "aupr_in"))),
    "vos": ((PAPER,), _of_vos),
    "mcd": ((PAPER,), _beside("CIFAR-10", "odin")),
}
