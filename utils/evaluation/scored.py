"""Which images an evaluation scores where not all are: the lists of an MCD training, and what is said about them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from utils.checkpoint import Checkpoint
from utils.data.id_sets import IDData
from utils.data.images import ImageSet
from utils.data.ood_table import find_ood_set
from utils.data.splits import SetSplit, Split, from_plain, load_split
from utils.errors import UserError, one_line
from utils.evaluation.evaluation import ID_TEST
from utils.evaluation.ood import OODImages, OODSets

MARKS = {"transductive": "†", "inductive": "‡", "unknown": "?"}


def unlabelled_of(checkpoint: Checkpoint) -> dict[str, Any] | None:
    """What a checkpoint says about unlabelled test images in its training, without the lists; None where it saw none.

    MCD always saw some; a file of other code does not say which, and its mode is "unknown".
    """
    if checkpoint.unlabelled is None:
        unknown = {"mode": "unknown", "ood": [], "choice": "not known"}
        return unknown if checkpoint.method.sees_unlabelled else None
    return {name: value for name, value in checkpoint.unlabelled.items() if name != "split"}


def usual_ood_sets(checkpoint: Checkpoint, usual: Sequence[str]) -> list[str]:
    """The OOD sets of an evaluation that names none: those in the unlabelled mix, then the `usual` ones."""
    mixed = list(checkpoint.args.get("ood") or ()) if checkpoint.unlabelled else []
    known = [find_ood_set(name) for name in mixed]
    return mixed + [name for name in usual if find_ood_set(name) not in known]


def scored_lists(checkpoint: Checkpoint, path: Path | None) -> dict[str, SetSplit]:
    """ID_TEST and OOD sets -> their lists: of the checkpoint's training, and of --scored where it is given.

    Raises:
        UserError: a damaged list, or one that would score what the training keeps from being scored.
    """
    own: dict[str, SetSplit] = {}
    if checkpoint.unlabelled is not None:
        try:
            own = _by_set(from_plain(checkpoint.unlabelled["split"]))
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(
                f"{checkpoint.path}: its lists of unlabelled images are not usable: {one_line(error)}"
            ) from error
    given = _by_set(load_split(path)) if path else {}
    for name in own:
        if name in given and not set(given[name].scored) <= set(own[name].scored):
            raise UserError(
                f"--scored {path} would score images of {name} that this checkpoint has seen in its training\n"
                "  do         : pass the split.json of an inductive run with the same --split-seed and --choice"
            )
    return own | given


def narrowed(data: IDData, ood: OODSets, lists: Mapping[str, SetSplit]) -> tuple[IDData, OODSets]:
    """Both with the listed images only; an OOD set that has no list stays whole.

    Raises:
        UserError: a list is of other images than these.
    """
    if not lists:
        return data, ood
    parts = [_narrowed_set(each, lists[each.name]) if each.name in lists else each for each in ood.sets]
    return replace(data, test=_part(data.test, lists[ID_TEST])), replace(ood, sets=tuple(parts))


def what_is_scored(ood: OODSets, lists: Mapping[str, SetSplit], path: Path | None) -> dict[str, Any] | None:
    """For metrics.json: whose list it is, and how many images of how many `narrowed` sets have; None where all are."""
    if not lists:
        return None
    counts = {each.whole.name: [len(each.images), len(each.whole)] for each in ood.sets if each.whole.name in lists}
    id_counts = [len(lists[ID_TEST].scored), lists[ID_TEST].images]
    return {"list": str(path) if path else "of the checkpoint", "id": id_counts, "ood": counts}


def scored_note(scored: Mapping[str, Any]) -> str:
    """`what_is_scored` in words, for below a table."""
    sets = {ID_TEST: scored["id"], **scored["ood"]}
    counts = ", ".join(f"{few:,} of {all_:,} of {name}" for name, (few, all_) in sets.items())
    return f"scored: {counts}; other OOD sets whole"


def footnote(unlabelled: Mapping[str, Any]) -> str:
    """The line that explains the mark of a method that saw unlabelled OOD images."""
    mode, sets = unlabelled["mode"], " and ".join([ID_TEST, *unlabelled["ood"]])
    saw = {
        "transductive": f"unlabelled images of {sets}: the very images that are scored",
        "inductive": f"unlabelled images of {sets}, none of which is scored",
        "unknown": "unlabelled images, and the file does not say which",
    }[mode]
    choice = "" if mode == "unknown" else f"; {unlabelled['choice']}"
    return f"{MARKS[mode]} {mode}: fine-tuned on {saw}{choice}"


def _narrowed_set(ood: OODImages, split: SetSplit) -> OODImages:
    part = _part(ood.whole, split)
    if len(part) < len(ood.whole):
        part.name = f"{ood.name} (scored part, {len(part):,} of {len(ood.whole):,})"
    return replace(ood, images=part, official=False)


def _part(images: ImageSet, split: SetSplit) -> ImageSet:
    if len(images) != split.images or images.fingerprint != split.fingerprint:
        raise UserError(
            f"the list of scored images is of another {images.name}: of {split.images:,} images, where {len(images):,} "
            "were found, or of the same number with other content\n"
            "  do         : give the images of the training; --seed 0, the default, where sets are generated or cut"
        )
    return images.subset(split.scored)


def _by_set(split: Split) -> dict[str, SetSplit]:
    return {ID_TEST: split.id, **split.ood}
