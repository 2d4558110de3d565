"""Groups of runs as tables: methods beside the published numbers, with marks."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from utils.cli.settings import total_epochs
from utils.data.id_records import find_id_set
from utils.evaluation.benchmark import BENCHMARKS
from utils.evaluation.grid import Grid
from utils.evaluation.names import HEADINGS, ORIENTATION, POSITIVE, SCORES, arch_label
from utils.methods import METHODS
from utils.results.aggregate import Group, Spread, columns_of
from utils.results.published import MARKS as SOURCES
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
    "recalled": ("§", SOURCES["recalled"]),
    "average agrees": ("✓", "the mean of its cells, computed again, is the mean that is quoted"),
    "issue": ("¶", SOURCES["issue"]),
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
        embedding: which of ID accuracy, dispersion, compactness get a column.
    Raises:
        ValueError: groups of several ID sets or benchmarks, whose numbers must not stand in one column.
    """
    if len({(group.facts["id"], group.facts["benchmark"]) for group in groups}) > 1:
        raise ValueError("groups of several ID sets or benchmarks in one table")
    pairs = [(group, [] if group.marks else counterparts(group, published)) for group in groups]
    shown = [*groups, *(line for _, lines in pairs for line in lines)]
    columns = columns_of(shown)
    marks: list[str] = []
    body = []
    for (group, lines), label in zip(pairs, labels(groups), strict=True):
        other_setup = [line for line in lines if not same_setup(group.facts, line.facts)]
        cells = [_numbers(group, name, metrics, marks) for name in columns]
        run = [str(group.run.get(name, "")) for name in embedding]
        body.append([label + _marked(group, marks, other_setup), str(group.runs or ""), *cells, *run])
        for line in lines:
            cells = [_compared(line, group, name, metrics, marks) for name in columns]
            body.append(
                [f"  published: {_origin(line)}{_marked(line, marks)}", str(line.runs or ""), *cells, *[""] * len(run)]
            )
    head = ["method", "runs", *columns, *(COLUMN_NAMES[name] for name in embedding)]
    if not any(group.runs for group in groups):  # no source says it
        head, *body = [[cells[0], *cells[2:]] for cells in (head, *body)]
    compared = any(lines for _, lines in pairs)
    return Grid(_heading(groups, metrics), head, body, [*_notes(shown, columns, marks, compared)])


def labels(groups: Sequence[Group]) -> list[str]:
    """A name for each group; what tells it from others of that name stands in brackets."""
    unsaid = {"train_images": {None}, "id_images": {None}}  # by all published lines
    differing = [
        name for name in _FACTS if len({group.facts.get(name) for group in groups} - unsaid.get(name, set())) > 1
    ]
    plain = [(_name(group.facts), *_details(group.facts, differing)) for group in groups]
    found = []
    for group, parts in zip(groups, plain, strict=True):
        same = [other.facts for other, its in zip(groups, plain, strict=True) if its == parts]
        name, *details = [*parts, *_own_settings(group.facts, same)]
        found.append(f"{name} ({', '.join(details)})" if details else name)
    return found


def method_label(name: str) -> str:
    """A method as tables show it; methods that are not trained here have their label for a name."""
    return next((method.label for method in METHODS if method.name == name), name)


def _name(facts: Mapping[str, Any]) -> str:
    return PAPER_NAMES.get((facts["method"], facts["score"])) or method_label(facts["method"])


def _details(facts: Mapping[str, Any], differing: Iterable[str]) -> list[str]:
    if "variant" in facts:
        found = [facts["variant"]]
    else:
        found = [method_label(facts["method"])] if _name(facts) != method_label(facts["method"]) else []
    if _name(facts) == method_label(facts["method"]):
        found.append(SCORES.get(facts["score"], facts["score"]))
    found += [f"K={facts['K']}"] if facts.get("K") else []
    found += [_FACTS[name](facts) for name in differing if facts.get(name)]
    return [detail for detail in found if detail]


def _own_settings(facts: Mapping[str, Any], same: Sequence[Mapping[str, Any]]) -> list[str]:
    """Settings of a group that not all groups of the same name have."""
    everywhere = set.intersection(*(set(other.get("trained_with", "").split()) for other in same))
    return [token for token in facts.get("trained_with", "").split() if token not in everywhere]


def _heading(groups: Sequence[Group], metrics: Sequence[str]) -> str:
    """What all groups share: ID set, benchmark, network, epochs, images, orientation, positive class."""
    facts = groups[0].facts
    shared = [name for name in _FACTS if facts.get(name) and len({group.facts.get(name) for group in groups}) == 1]
    positive = {group.facts["positive"] for group in groups}
    parts = [facts["id"], *([] if facts["benchmark"] == "cider" else [BENCHMARKS[facts["benchmark"]].label])]
    parts += [_FACTS[name](facts) for name in shared if name != "id_images"]
    if metrics:
        parts.append(f"{' / '.join(HEADINGS[metric] for metric in metrics)} in %")
    return "   ".join([*parts, ORIENTATION, *(POSITIVE[each] for each in sorted(positive))])


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


def _numbers(group: Group, column: str, metrics: Sequence[str], marks: list[str]) -> str:
    """The numbers of one cell; a published one is marked where not the whole line has its mark."""
    cell = group.cell(column)
    if not cell:
        return ""
    text = " / ".join(str(cell.get(metric, "-")) for metric in metrics)
    mark = group.marks.get(column)
    if mark not in MARKS or len(set(group.marks.values())) == 1:
        return text
    marks += [mark] * (mark not in marks)
    return f"{text} {MARKS[mark][0]}"


def _compared(published: Group, ours: Group, column: str, metrics: Sequence[str], marks: list[str]) -> str:
    """The published numbers, and behind them ours minus them."""
    text, theirs, our_cell = _numbers(published, column, metrics, marks), published.cell(column), ours.cell(column)
    both = [metric for metric in metrics if metric in theirs and metric in our_cell]
    differences = " / ".join(f"{our_cell[metric].mean - theirs[metric].mean:+.2f}" for metric in both)
    return f"{text} ({differences})" if both else text


def _origin(line: Group) -> str:
    details = [line.facts[name] for name in ("variant", "source") if line.facts[name]]
    return ", ".join(dict.fromkeys(details))


def _marked(group: Group, marks: list[str], other_setup: Sequence[Group] = ()) -> str:
    """The marks of a line; those that are used are added to `marks`."""
    facts = group.facts
    sources = set(group.marks.values())
    own = [facts["unlabelled"], *(sources if len(sources) == 1 else ()), facts.get("id_files", "")]
    own += ["other setup"] if other_setup else []
    own += ["average agrees"] if "recalled" in sources and facts["average_agrees"] else []
    used = [name for name in own if name in MARKS]
    marks += [name for name in used if name not in marks]
    return "".join(f" {MARKS[name][0]}" for name in used)


def _spreads(group: Group) -> Iterable[Spread]:
    return (spread for cell in (*group.cells.values(), *group.means.values()) for spread in cell.values())


def _notes(groups: Sequence[Group], columns: Sequence[str], marks: Sequence[str], compared: bool) -> Iterable[str]:
    """Footer: what ±, brackets, marks and names of sets mean."""
    for name, what in (("", "sample standard deviation over the runs"), *STANDARD_DEVIATIONS.items()):
        its = [group for group in groups if (group.facts["benchmark"] if group.marks else "") == name]
        if any(spread.std is not None for group in its for spread in _spreads(group)):
            yield f"±: {what}"
    if compared:
        yield "in brackets: ours minus the published number"
    for name in MARKS:
        if name in marks:
            yield "{}: {}".format(*MARKS[name])
    sets = {name: of for group in groups for name, of in group.sets.items()}
    stand_ins = [name for name in columns if sets.get(name) and sets[name] != name]
    if stand_ins:
        yield f"not the official set, and in no mean that is compared: {', '.join(stand_ins)}"
    facts = groups[0].facts
    for label, members in BENCHMARKS[facts["benchmark"]].groups.get(facts["id"], {}).items():
        if label in columns and label != "mean":
            yield f"{label}: mean over {', '.join(members)}"
