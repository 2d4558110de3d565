"""Groups of runs as tables: methods beside the published numbers, or one method on all its sets, with marks."""

from collections.abc import Iterable, Mapping, Sequence

from utils.cli.settings import total_epochs
from utils.data.id_records import find_id_set
from utils.data.ood_table import base_set, group_of
from utils.evaluation.grid import Grid
from utils.evaluation.tables import HEADINGS, ORIENTATION, POSITIVE
from utils.methods import labelled
from utils.results.aggregate import RUN, Group, Spread, set_order
from utils.results.published import MARKS as SOURCES
from utils.results.published import OPENOOD
from utils.results.rows import OTHER_FILES

# Names of the papers' tables for a method of ours with a score.
PAPER_NAMES = {
    ("SupCon", "KNN"): "KNN+",
    ("SupCon", "SSD"): "SSD+",
    ("Cross-entropy", "MSP"): "MSP",
    ("Cross-entropy", "odin"): "ODIN",
    ("Cross-entropy", "energy"): "Energy",
    ("Cross-entropy", "Mahalanobis"): "Mahalanobis",
    ("Cross-entropy", "vim"): "ViM",
}
MARKS = {
    "transductive": ("†", "saw the scored OOD images while it trained, unlabelled (transductive)"),
    "inductive": ("‡", "saw other images of these OOD sets while it trained, unlabelled (inductive)"),
    "unknown": ("?", "saw unlabelled images while it trained, and its file does not say which"),
    "recalled": ("§", SOURCES["recalled"]),
    "average agrees": ("✓", "the mean of its cells, computed again, is the mean that is quoted"),
    "issue": ("¶", SOURCES["issue"]),
    OTHER_FILES: ("~", "ID files that are not the published ones by their checksums; the images may be the same"),
    "other setup": ("#", "another network, fewer epochs or fewer training images than in the paper: no reproduction"),
}
COLUMN_NAMES = {"id_accuracy_knn": "ID accuracy ↑", "dispersion": "dispersion ↑", "compactness": "compactness ↓"}
# Facts that stand in the heading where all lines share them, and else in the label.
_FACTS = {
    "architecture": "{}",
    "epochs": "{} epochs",
    "train_images": "{:,} training images",
    "id_images": "{:,} ID test images",
}


def by_method(
    groups: Sequence[Group],
    published: Sequence[Group] = (),
    *,
    metrics: Sequence[str] = ("fpr95", "auroc"),
    columns: Sequence[str] | None = None,
    embedding: Sequence[str] = (),
) -> Grid:
    """A line per group, a column per OOD set and mean; below a line of ours each published one of the same method.

    Args:
        groups: of one ID set.    published: lines that may be compared, of any ID set.
        metrics: shown in each cell, separated by slashes.    columns: sets and means; None for all there are.
        embedding: which of ID accuracy, dispersion, compactness get a column.
    """
    pairs = [(group, counterparts(group, published)) for group in groups]
    shown = [*groups, *(line for _, lines in pairs for line in lines)]
    if columns is None:
        columns = sorted({name for group in shown for name in group.sets}, key=set_order)
    marks: list[str] = []
    body = []
    for (group, lines), label in zip(pairs, labels(groups), strict=True):
        other_setup = [line for line in lines if not same_setup(group.facts, line.facts)]
        cells = [_cell(group.cells.get(name, {}), metrics) for name in columns]
        run = [str(group.cells.get(RUN, {}).get(name, "")) for name in embedding]
        body.append([label + _marked(group, marks, other_setup), _runs(group), *cells, *run])
        for line in lines:
            cells = [_compared(line.cells.get(name, {}), group.cells.get(name, {}), metrics) for name in columns]
            body.append([f"  published: {_origin(line)}{_marked(line, marks)}", _runs(line), *cells, *[""] * len(run)])
    head = ["method", "runs", *columns, *(COLUMN_NAMES[name] for name in embedding)]
    if not any(group.runs for group in groups):  # no source says it
        head, *body = [[cells[0], *cells[2:]] for cells in (head, *body)]
    compared = any(lines for _, lines in pairs)
    return Grid(_heading(groups, metrics), head, body, [*_notes(groups, columns, marks, compared)])


def by_set(group: Group, *, metrics: Sequence[str] = ("fpr95", "auroc", "aupr_in")) -> Grid:
    """One group: a line per OOD set and mean, a column per metric."""
    body = [[name, *(str(group.cells[name].get(metric, "")) for metric in metrics)] for name in group.sets]
    marks: list[str] = []
    label = labels([group])[0] + _marked(group, marks)
    runs = f"{group.runs} run" + "s" * (group.runs != 1)
    accuracy = group.cells[RUN].get("id_accuracy_knn")
    notes = [f"ID accuracy by KNN: {accuracy} %"] if accuracy else []
    return Grid(
        f"{label}   {_heading([group], ())}   {runs}",
        ["OOD set", *(HEADINGS[metric] for metric in metrics)],
        body,
        [*notes, *_notes([group], group.sets, marks, False)],
    )


def labels(groups: Sequence[Group]) -> list[str]:
    """A name for each group; what tells it from others of that name stands in brackets."""
    differing = [name for name in _FACTS if len({group.facts.get(name) for group in groups}) > 1]
    plain = [(_name(group.facts), *_details(group.facts, differing)) for group in groups]
    found = []
    for group, parts in zip(groups, plain, strict=True):
        same = [other.facts for other, its in zip(groups, plain, strict=True) if its == parts]
        name, *details = [*parts, *_own_settings(group.facts, same)]
        found.append(f"{name} ({', '.join(details)})" if details else name)
    return found


def _name(facts: Mapping[str, str]) -> str:
    return PAPER_NAMES.get((facts["method"], facts["score"]), facts["method"])


def _details(facts: Mapping[str, str], differing: Iterable[str]) -> list[str]:
    if "variant" in facts:
        found = [facts["variant"]]
    else:
        found = [facts["method"] if _name(facts) != facts["method"] else facts["score"]]
        found += [f"K={facts['K']}"] if facts["K"] else []
    found += [_fact(name, facts) for name in differing if facts.get(name)]
    return [detail for detail in found if detail]


def _fact(name: str, facts: Mapping[str, str]) -> str:
    value = facts[name]
    return _FACTS[name].format(int(value) if value.isdigit() else value)


def _own_settings(facts: Mapping[str, str], same: Sequence[Mapping[str, str]]) -> list[str]:
    """Settings of a group that not all groups of the same name have."""
    everywhere = set.intersection(*(set(other.get("trained_with", "").split()) for other in same))
    return [token for token in facts.get("trained_with", "").split() if token not in everywhere]


def _heading(groups: Sequence[Group], metrics: Sequence[str]) -> str:
    """What all groups share: ID set, network, epochs, images, orientation, positive class."""
    facts = groups[0].facts
    shared = [name for name in _FACTS if facts.get(name) and len({group.facts.get(name) for group in groups}) == 1]
    positive = {group.facts["positive"] for group in groups}
    parts = [facts["id"], *(_fact(name, facts) for name in shared if name != "id_images")]
    if metrics:
        parts.append(f"{' / '.join(HEADINGS[metric] for metric in metrics)} in %")
    return "   ".join([*parts, ORIENTATION, *(POSITIVE[each] for each in sorted(positive))])


def counterparts(group: Group, published: Sequence[Group]) -> list[Group]:
    """Published lines of the same method, score and ID set that share an OOD set with the group."""
    facts = group.facts
    return [
        line
        for line in published
        if all(line.facts[name] == facts[name] for name in ("id", "method", "score", "positive", "unlabelled"))
        and line.facts["protocol"] != OPENOOD
        and not set(line.sets).isdisjoint(group.sets)
    ]


def same_setup(facts: Mapping[str, str], published: Mapping[str, str]) -> bool:
    """Whether a group of ours was trained as the paper says: network, epochs, all training images."""
    method = labelled(facts["method"])
    known = find_id_set(facts["id"])
    return (
        method is not None
        and facts["architecture"] == published["architecture"]
        and int(facts["epochs"]) >= total_epochs(method.name, facts["id"])
        and int(facts["train_images"]) >= (known.train_images if known and known.train_images else 0)
    )


def _cell(found: Mapping[str, Spread], metrics: Sequence[str]) -> str:
    return " / ".join(str(found.get(metric, "-")) for metric in metrics) if found else ""


def _compared(published: Mapping[str, Spread], ours: Mapping[str, Spread], metrics: Sequence[str]) -> str:
    """The published numbers, and behind them ours minus them."""
    text = _cell(published, metrics)
    if not published or not ours:
        return text
    both = [metric for metric in metrics if metric in published and metric in ours]
    return f"{text} ({' / '.join(f'{ours[metric].mean - published[metric].mean:+.2f}' for metric in both)})"


def _runs(group: Group) -> str:
    return str(group.runs or "")


def _origin(line: Group) -> str:
    details = [line.facts[name] for name in ("variant", "source") if line.facts[name]]
    return ", ".join(dict.fromkeys(details))


def _marked(group: Group, marks: list[str], other_setup: Sequence[Group] = ()) -> str:
    """The marks of a line; those that are used are added to `marks`."""
    facts = group.facts
    own = [facts["unlabelled"], facts.get("mark", ""), facts.get("id_files", ""), "other setup" if other_setup else ""]
    if facts.get("mark") == "recalled" and facts["average_agrees"]:
        own.append("average agrees")
    used = [name for name in own if name in MARKS]
    marks += [name for name in used if name not in marks]
    return "".join(f" {MARKS[name][0]}" for name in used)


def _notes(groups: Sequence[Group], columns: Sequence[str], marks: Sequence[str], compared: bool) -> Iterable[str]:
    """Footer: what ±, brackets, marks and names of sets mean."""
    if any(spread.std is not None for group in groups for cell in group.cells.values() for spread in cell.values()):
        ours = "trained_with" in groups[0].facts
        yield f"±: {'sample standard deviation over the runs' if ours else 'as published'}"
    if compared:
        yield "in brackets: ours minus the published number"
    for name in MARKS:
        if name in marks:
            yield "{}: {}".format(*MARKS[name])
    stand_ins = [name for name in columns if " (" in name and (row := base_set(name)) and row.name != name]
    stand_ins = [name for name in stand_ins if not name.startswith(("mean", "near", "far"))]
    if stand_ins:
        yield f"not the official set, and in no mean that is compared: {', '.join(stand_ins)}"
    id_name = groups[0].facts["id"]
    for label in columns:
        if label.startswith(("near (", "far (")):
            members = [name for name in columns if group_of(name, id_name) == label.split()[0]]
            yield f"{label}: {', '.join(members)}"
