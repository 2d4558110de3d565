"""Groups of runs as tables: methods beside the published numbers, with marks."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from utils.cli.settings import total_epochs
from utils.data.id_records import find_id_set
from utils.evaluation.benchmark import BENCHMARKS
from utils.evaluation.grid import Grid
from utils.evaluation.names import HEADINGS, ORIENTATION, POSITIVE, SCORES, arch_label
from utils.methods import METHODS
from utils.results.aggregate import Group, columns_of
from utils.results.rows import OTHER_FILES

# Names of the papers' tables for a method of ours with a score.
PAPER_NAMES = {
    ("supcon", "knn"): "KNN+",
    ("supcon", "ssd"): "SSD+",
    ("ce", "msp"): "MSP",
    ("ce", "odin"): "ODIN",
    ("ce", "energy"): "Energy",
    ("ce", "maha"): "Mahalanobis",
    ("ce", "vim"): "ViM",
}
MARKS = {
    "transductive": ("†", "saw the scored OOD images while it trained, unlabelled (transductive)"),
    "inductive": ("‡", "saw other images of these OOD sets while it trained, unlabelled (inductive)"),
    "unknown": ("?", "saw unlabelled images while it trained, and its file does not say which"),
    "recalled": ("§", "quoted from memory of the source, not checked against it"),
    "average agrees": ("✓", "the mean of its cells, computed again, is the mean that is quoted"),
    "issue": ("¶", "reported in a public issue thread"),
    OTHER_FILES: ("~", "ID files that are not the published ones by their checksums; the images may be the same"),
    "other setup": ("#", "another network, fewer epochs or fewer training images than there: no reproduction"),
}
# What ± is in published numbers, by benchmark; in ours it is the sample standard deviation.
STANDARD_DEVIATIONS = {
    "cider": "as published",
    "openood": "of published numbers: population standard deviation over three seeds",
}
COLUMN_NAMES = {
    "id_accuracy_knn": "ID accuracy ↑",
    "id_accuracy_probe": "linear probe ↑",
    "dispersion": "dispersion ↑",
    "compactness": "compactness ↓",
}
EMBEDDING = tuple(COLUMN_NAMES)
# Facts that stand in the heading where all lines share them, and else in the label.
_FACTS = {
    "arch": lambda facts: arch_label(facts["arch"], facts.get("width", 64)),
    "epochs": lambda facts: f"{facts['epochs']} epochs",
    "train_images": lambda facts: f"{facts['train_images']:,} training images",
    "id_images": lambda facts: f"{facts['id_images']:,} ID test images",
}


def by_method(
    groups: Sequence[Group],
    published: Sequence[Group] = (),
    *,
    metrics: Sequence[str] = ("fpr95", "auroc"),
    embedding: Sequence[str] = (),
) -> Grid:
    """A line per group, a column per OOD set and mean; below a line of ours each published one of the same method.

    Args:
        groups: of one ID set and benchmark; published lines may be among them, too.
        published: lines that may be compared, of any ID set and benchmark.
        metrics: shown in each cell, separated by slashes.
        embedding: which of COLUMN_NAMES get a column, where any group knows them.
    Raises:
        ValueError: groups of several ID sets or benchmarks, whose numbers must not stand in one column.
    """
    if len({(group.facts["id"], group.facts["benchmark"]) for group in groups}) > 1:
        raise ValueError("groups of several ID sets or benchmarks in one table")
    below = [[] if group.marks else counterparts(group, published) for group in groups]
    shown = [*groups, *(line for lines in below for line in lines)]
    columns = columns_of(shown)
    embedding = [name for name in embedding if any(name in group.run for group in groups)]
    body = []
    for group, lines, label in zip(groups, below, labels(groups), strict=True):
        other_setup = any(not same_setup(group.facts, line.facts) for line in lines)
        cells = [_numbers(group, name, metrics) for name in columns]
        run = [str(group.run.get(name, "")) for name in embedding]
        body.append([label + _marked(group, other_setup), str(group.runs or ""), *cells, *run])
        for line in lines:
            origin = ", ".join(dict.fromkeys(line.facts[name] for name in ("variant", "source") if line.facts[name]))
            cells = [_numbers(line, name, metrics, ours=group) for name in columns]
            label = f"  published: {origin}{_marked(line)}"
            body.append([label, str(line.runs or ""), *cells, *["" for _ in run]])
    head = ["method", "runs", *columns, *(COLUMN_NAMES[name] for name in embedding)]
    if not any(group.runs for group in groups):  # no source says it
        head, *body = [[cells[0], *cells[2:]] for cells in (head, *body)]
    return Grid(_heading(groups, metrics), head, body, [*_notes(shown, columns, body, compared=any(below))])


def by_experiment(groups: Sequence[Group], lines: Sequence[Group] = ()) -> list[Grid]:
    """For each ID set and benchmark FPR95 and AUROC of each group on each set, ID accuracy and geometry."""
    tables: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        tables.setdefault((group.facts["id"], group.facts["benchmark"]), []).append(group)
    return [by_method(each, lines, embedding=EMBEDDING) for each in tables.values()]


def metrics_apart(groups: Sequence[Group], lines: Sequence[Group] = ()) -> list[Grid]:
    """AUROC with ID accuracy and geometry, and FPR95 in a table of its own: for many sets."""
    if not groups:
        return []
    return [by_method(groups, metrics=("auroc",), embedding=EMBEDDING), by_method(groups, metrics=("fpr95",))]


def labels(groups: Sequence[Group]) -> list[str]:
    """A name for each group; what tells it from others of that name stands in brackets."""
    unsaid = {"train_images": {None}, "id_images": {None}}  # by all published lines
    differing = [
        name for name in _FACTS if len({group.facts.get(name) for group in groups} - unsaid.get(name, set())) > 1
    ]
    plain = [_name_and_details(group.facts, differing) for group in groups]
    tokens = [set(group.facts.get("trained_with", "").split()) for group in groups]
    found = []
    for group, parts in zip(groups, plain, strict=True):
        everywhere = set.intersection(*(its for its, others in zip(tokens, plain, strict=True) if others == parts))
        own = [token for token in group.facts.get("trained_with", "").split() if token not in everywhere]
        name, *details = [*parts, *own]
        found.append(f"{name} ({', '.join(details)})" if details else name)
    return found


def method_label(name: str) -> str:
    """A method as tables show it; methods that are not trained here have their label for a name."""
    return next((method.label for method in METHODS if method.name == name), name)


def _name_and_details(facts: Mapping[str, Any], differing: Sequence[str]) -> list[str]:
    label = method_label(facts["method"])
    name = PAPER_NAMES.get((facts["method"], facts["score"]))
    details = [
        facts.get("variant", label if name else ""),
        "" if name else SCORES.get(facts["score"], facts["score"]),
        f"K={facts['K']}" if facts.get("K") else "",
        *(_FACTS[fact](facts) for fact in differing if facts.get(fact)),
    ]
    return [name or label, *filter(None, details)]


def _heading(groups: Sequence[Group], metrics: Sequence[str]) -> str:
    """What all groups share: ID set, benchmark, network, epochs, images, orientation, positive class."""
    facts = groups[0].facts
    shared = [name for name in _FACTS if facts.get(name) and len({group.facts.get(name) for group in groups}) == 1]
    parts = [
        facts["id"],
        *([] if facts["benchmark"] == "cider" else [BENCHMARKS[facts["benchmark"]].label]),
        *(_FACTS[name](facts) for name in shared if name != "id_images"),
        f"{' / '.join(HEADINGS[metric] for metric in metrics)} in %",
        ORIENTATION,
        *(POSITIVE[each] for each in sorted({group.facts["positive"] for group in groups})),
    ]
    return "   ".join(parts)


def counterparts(group: Group, published: Sequence[Group]) -> list[Group]:
    """Published lines of the same method, score, ID set and benchmark that share an OOD set or mean with the group."""
    same = ("id", "benchmark", "method", "score", "positive", "unlabelled")
    return [
        line
        for line in published
        if all(line.facts[name] == group.facts[name] for name in same)
        and any(group.cell(name) for name in (*line.cells, *line.means))
    ]


def same_setup(facts: Mapping[str, Any], published: Mapping[str, Any]) -> bool:
    """Whether a group of ours was trained as the source says: network, epochs, all training images.

    Epochs that the source does not say are those that this repository takes for the method.
    """
    record = find_id_set(facts["id"])
    if facts["method"] not in (method.name for method in METHODS) or record is None:
        return False
    return (
        arch_label(facts["arch"], facts["width"]) == arch_label(published["arch"])
        and facts["epochs"] >= (published["epochs"] or total_epochs(facts["method"], facts["id"]))
        and facts["train_images"] >= (record.train_images or 0)
    )


def _numbers(group: Group, column: str, metrics: Sequence[str], ours: Group | None = None) -> str:
    """A cell, which says where it is of fewer runs than the line.

    A published number is marked where not the whole line has its mark, and may have ours minus it.
    """
    cell = group.cell(column)
    if not cell:
        return ""
    text = " / ".join(str(cell.get(metric, "-")) for metric in metrics)
    runs = next(iter(cell.values())).runs or group.runs
    if runs < group.runs:  # the column of runs says more
        text += f" ({runs} of {group.runs} runs)"
    mark = group.marks.get(column)
    if mark in MARKS and len(set(group.marks.values())) > 1:
        text += f" {MARKS[mark][0]}"
    both = [metric for metric in metrics if ours and metric in cell and metric in ours.cell(column)]
    differences = " / ".join(f"{ours.cell(column)[metric].mean - cell[metric].mean:+.2f}" for metric in both)
    return f"{text} ({differences})" if both else text


def _marked(group: Group, other_setup: bool = False) -> str:
    """The marks of a whole line."""
    facts, sources = group.facts, set(group.marks.values())
    own = [
        facts["unlabelled"],
        *(sources if len(sources) == 1 else ()),
        facts.get("id_files", ""),
        "other setup" if other_setup else "",
        "average agrees" if "recalled" in sources and facts["average_agrees"] else "",
    ]
    return "".join(f" {MARKS[name][0]}" for name in own if name in MARKS)


def _notes(
    groups: Sequence[Group], columns: Sequence[str], body: Sequence[Sequence[str]], *, compared: bool
) -> Iterable[str]:
    """Footer: what ±, brackets, marks and names of sets mean."""
    for name, what in (("", "sample standard deviation over the runs"), *STANDARD_DEVIATIONS.items()):
        its = [group for group in groups if (group.facts["benchmark"] if group.marks else "") == name]
        cells = [cell for group in its for cell in (*group.cells.values(), *group.means.values())]
        if any(number.std is not None for cell in cells for number in cell.values()):
            yield f"±: {what}"
    if compared:
        yield "in brackets: ours minus the published number"
    words = {word for cells in body for cell in cells for word in cell.split()}
    yield from (f"{mark}: {what}" for mark, what in MARKS.values() if mark in words)
    sets = {name: of for group in groups for name, of in group.sets.items()}
    if stand_ins := [name for name in columns if sets.get(name) not in (None, "", name)]:
        yield f"not the official set, and in no mean that is compared: {', '.join(stand_ins)}"
    facts = groups[0].facts
    for label, members in BENCHMARKS[facts["benchmark"]].groups.get(facts["id"], {}).items():
        if label in columns:
            yield f"{label}: mean over {', '.join(members)}"
