"""Evaluate a CIDER, VOS or MCD checkpoint, of this repository or of the official code: scores, metrics, tables, plots.

    python eval_cider.py --in-dataset digits --name demo                     the last checkpoint of a run
    python eval_cider.py --in-dataset CIFAR-10 --name ckpt_c10 --epoch 500   checkpoints/CIFAR-10/ckpt_c10/
    python eval_cider.py --ckpt checkpoint_500.pth.tar --in-dataset CIFAR-10 --ood-sets SVHN dtd mine=photos/
    python eval_cider.py --name demo --score knn maha++ ssd --bootstrap      several scores, with intervals

Larger scores = more in-distribution, and ID is the positive class. CIDER is scored by minus the squared distance to the
K-th nearest ID training image, on L2-normalised penultimate features; VOS by minus the energy of its logits; MCD
(maximum classifier discrepancy, not Monte-Carlo dropout) by minus the L1 distance between the outputs of its two heads.
"""

from utils.cli.evaluate import parse_arguments
from utils.cli.start import start

if __name__ == "__main__":
    start(parse_arguments, __doc__)

import argparse
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from utils.checkpoint import Checkpoint, load_checkpoint
from utils.cli.device import choose_device
from utils.data.id_records import id_set
from utils.data.id_sets import IDData, limited
from utils.data.images import ImageSet
from utils.data.ood_sets import MissingSet, load_ood
from utils.detection.fit import keep_reference
from utils.errors import UserError, note, run_script
from utils.evaluation import report, tables
from utils.evaluation.benchmark import BENCHMARKS
from utils.evaluation.collapse import collapse, collapse_warning
from utils.evaluation.evaluation import (
    ID_TEST,
    WHOLE_ID_TEST,
    Evaluation,
    Space,
    evaluate,
    normalised_space,
    unit_penultimate,
)
from utils.evaluation.facts import about, plain_settings
from utils.evaluation.features import AMP_TYPES, Features, extract
from utils.evaluation.folder import evaluation_folder
from utils.evaluation.inputs import find_checkpoint, load_id_data
from utils.evaluation.method_tables import NOISE, chosen_k_line, make_tables, size_notes, sweep_tables
from utils.evaluation.neighbours import choose_k
from utils.evaluation.ood import OODSets, lists_of, load_ood_sets
from utils.evaluation.probe import augmented_batches, probe_accuracy
from utils.evaluation.progress import say
from utils.evaluation.registry import check_names, chosen_scores
from utils.evaluation.score_parts import Ingredients
from utils.evaluation.scored import narrowed, scored_lists, unlabelled_of, usual_ood_sets, what_is_scored
from utils.files import require_writable
from utils.training.run_folder import environment

FeaturesOf = Callable[[ImageSet], Features]


def main() -> None:
    """Options, data, evaluation, report."""
    args = parse_arguments(__doc__)
    device = choose_device(args)
    check_names(name for name in args.score or () if name != "all")
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    checkpoint = load_checkpoint(args.ckpt or find_checkpoint(args.checkpoints, args.in_dataset, args.name, args.epoch))
    say(f"{checkpoint.path}: {checkpoint.method.label}, epoch {checkpoint.epoch}, on {device}")
    settings = plain_settings(vars(args))
    out = args.out or checkpoint.path.parent / f"eval_{checkpoint.epoch}"
    out = evaluation_folder(out, checkpoint, settings, overwrite=args.overwrite)

    data, ood, lists = load_images(args, checkpoint)

    evaluation, notes = evaluate_images(args, device, checkpoint, data, ood)

    fault = collapse(len(data.class_names), evaluation.id_accuracy["knn"], checkpoint.prototypes)
    scored = what_is_scored(ood, lists, args.scored)
    found = make_tables(
        checkpoint,
        data,
        ood,
        evaluation,
        benchmark=BENCHMARKS[args.benchmark],
        positive=args.positive,
        scored=scored,
        notes=[*([f"THIS NETWORK HAS COLLAPSED: {fault}"] if fault else []), *notes],
    )
    print(tables.to_text(*found))
    swept = sweep_tables(found[0], evaluation.sweep)
    if swept:
        print(tables.to_text(*swept))
    if fault:
        print(collapse_warning(fault, checkpoint.args), file=sys.stderr)
    facts = about(checkpoint, data, ood, settings, environment())
    if BENCHMARKS[args.benchmark].lists:
        facts["lists_sha256"] = lists_of(BENCHMARKS[args.benchmark]).lists_sha256()
    facts |= {
        "benchmark": args.benchmark,
        "unlabelled": unlabelled_of(checkpoint),
        "scored": scored,
        "collapsed": fault,
    }
    say("writing and drawing")
    written = report.write(
        out,
        found,
        swept,
        ood,
        evaluation,
        facts,
        class_names=data.class_names,
        prototypes=checkpoint.prototypes,
        pictures=not args.no_plots,
        projection=args.projection,
        style=args.style,
        projector=args.projector,
        seed=args.seed,
    )
    print(f"Written to {out}: {' '.join(path.name for path in written)}")


def load_images(args: argparse.Namespace, checkpoint: Checkpoint) -> tuple[IDData, OODSets, dict]:
    """The ID set and the OOD sets, those of their images that are scored, and the lists that say which these are."""
    say("reading the images")
    data = load_id_data(checkpoint, args.in_dataset, args.id_loc, image_size=args.image_size, download=args.download)
    if args.bank:
        data = with_bank(args, data)
    check_neighbours(args, data)
    benchmark = BENCHMARKS[args.benchmark]
    usual = benchmark.sets(data.name)
    if not usual:
        known = ", ".join(benchmark.groups)
        raise UserError(f"--benchmark {benchmark.name} has no OOD sets for {data.name}; it has them for {known}")
    wanted = args.ood_sets or usual_ood_sets(checkpoint, usual)
    ood = load_ood_sets(data, wanted, args.ood_loc, benchmark=benchmark, seed=args.seed)
    for text in (*data.notes, *(f"{each.name}: {text}" for each in ood.sets for text in each.images.notes)):
        note(text)
    lists = scored_lists(checkpoint, args.scored)
    if lists and benchmark.lists:
        raise UserError(
            f"--benchmark {benchmark.name} has its own lists of ID test images, and this evaluation has those of MCD\n"
            "  do         : evaluate with --benchmark cider"
        )
    return *narrowed(data, ood, lists), lists


def with_bank(args: argparse.Namespace, data: IDData) -> IDData:
    """The ID set with the training images of --bank; sets --K, where it is not given, in proportion."""
    bank = limited(data, args.bank, args.seed)
    share = len(bank.train) / len(data.train)
    args.K = args.K or max(1, round(share * id_set(data.name).k))
    return replace(bank, notes=(*bank.notes, f"{len(bank.train):,} of {len(data.train):,} ID training images are used"))


def check_neighbours(args: argparse.Namespace, data: IDData) -> None:
    """Raise a UserError where a K is larger than the training set."""
    wanted = [*(args.K_sweep or ()), args.K if isinstance(args.K, int) else 1]
    if max(wanted) > len(data.train):
        flag = "--K" if args.K == max(wanted) else "--K-sweep"
        raise UserError(f"{flag} {max(wanted)} needs as many ID training images, but there are {len(data.train):,}")


def evaluate_images(
    args: argparse.Namespace, device: torch.device, checkpoint: Checkpoint, data: IDData, ood: OODSets
) -> tuple[Evaluation, list[str]]:
    """Features, scores and metrics, and the notes for below the table; keeps what detect.py needs."""
    given = Ingredients.of(checkpoint, k=1, device=device, mean=data.mean, std=data.std, workers=args.workers)
    method = checkpoint.method
    scores, left_out = chosen_scores(args.score or [method.score], given, method.label)
    for reason in left_out:
        note(reason)
    keeps = can_keep(checkpoint)
    features_of = extractor(args, device, checkpoint, data, checkpoint.path.parent / "features" if keeps else None)
    train, whole = features_of(data.train), features_of(data.test)
    benchmark = BENCHMARKS[args.benchmark]
    rows = lists_of(benchmark).id_rows(data) if benchmark.lists else None
    test = whole if rows is None else whole.subset(rows.test)
    others = {each.name: features_of(each.images) for each in ood.sets}
    space = normalised_space(train, test, others, len(data.class_names), device)
    if rows is not None and args.K is None:
        k, notes = validated_neighbour(args, data, whole.subset(rows.validation), space, features_of)
    else:
        k, notes = neighbour(args, data, ood, space, features_of)
    if rows is not None and not rows.whole:
        notes.append(f"ID test is not {benchmark.label}'s whole one: {len(rows.test):,} images of it are there")
    evaluation = evaluate(
        train,
        test,
        others,
        scores=scores,
        given=replace(given, k=k, num_classes=len(data.class_names)),
        space=space,
        images={
            ID_TEST: data.test if rows is None else data.test.subset(rows.test),
            WHOLE_ID_TEST: data.test,
            **{each.name: each.images for each in ood.sets},
        },
        positive=args.positive,
        resamples=args.bootstrap,
        seed=args.seed,
        sweep=args.K_sweep or (),
        whole=None if rows is None else whole,
    )
    if args.linear_probe:
        evaluation = with_linear_probe(args, device, checkpoint, data, train, test, evaluation)
    if keeps:
        id_scores = {result.name: torch.from_numpy(result.id_scores) for result in evaluation.results}
        keep_reference(
            checkpoint,
            data,
            train,
            test,
            id_scores=id_scores,
            k=k,
            id_accuracy=evaluation.id_accuracy["knn"],
            small=args.bank is not None,
        )
    return evaluation, [*notes, *size_notes(data, ood, k)]


def can_keep(checkpoint: Checkpoint) -> bool:
    """Whether features, and what detect.py needs, can be kept beside the checkpoint; says so where they can not."""
    try:
        require_writable(checkpoint.path.parent)
        return True
    except UserError as error:
        note(f"no features are kept, and no statistics for detect.py: {error}")
        return False


def extractor(
    args: argparse.Namespace, device: torch.device, checkpoint: Checkpoint, data: IDData, cache: Path | None
) -> FeaturesOf:
    """The function from a set of images to its features: one forward pass, or none where they are cached."""
    model = checkpoint.model.to(device)
    if args.channels_last:
        model.to(memory_format=torch.channels_last)
    return partial(
        extract,
        model,
        mean=data.mean,
        std=data.std,
        device=device,
        batch_size=args.batch_size,
        amp=args.amp,
        channels_last=args.channels_last,
        workers=args.workers,
        cache_dir=None if args.no_cache else args.cache_dir or cache,
        checkpoint_sha=checkpoint.sha256,
    )


def neighbour(
    args: argparse.Namespace, data: IDData, ood: OODSets, space: Space, features_of: FeaturesOf
) -> tuple[int, list[str]]:
    """K of the KNN score, and the note on how it was chosen where nobody gave it."""
    usual = min(id_set(data.name).k, len(data.train))
    if args.K != "auto":
        return args.K or usual, []
    # Not the noise that may be in the table: another seed.
    noise = features_of(load_ood(NOISE, data, seed=args.seed + 1))
    rows = unit_penultimate(noise, "Gaussian noise", space.bank.device)
    k, aurocs = choose_k(space.bank, space.features[ID_TEST], rows, usual)
    return k, [chosen_k_line(k, aurocs, ood)]


def validated_neighbour(
    args: argparse.Namespace, data: IDData, id_validation: Features, space: Space, features_of: FeaturesOf
) -> tuple[int, list[str]]:
    """K as a benchmark chooses it, by validation images; the ID set's own where they are not there. And the note."""
    benchmark = BENCHMARKS[args.benchmark]
    try:
        images = lists_of(benchmark).validation_set(data, args.ood_loc)
    except MissingSet as error:
        k = min(id_set(data.name).k, len(data.train))
        return k, [f"K={k} is not chosen as {benchmark.label} does it: {str(error).splitlines()[0]}"]
    device = space.bank.device
    id_rows = unit_penultimate(id_validation, "ID validation", device)
    ood_rows = unit_penultimate(features_of(images), images.name, device)
    k, aurocs = choose_k(space.bank, id_rows, ood_rows, None, benchmark.neighbours)
    found = ", ".join(f"{each}: {100 * auroc:.2f}" for each, auroc in aurocs.items())
    return k, [f"K={k} chosen by the AUROC of {len(id_rows):,} ID validation images against {images.name} ({found})"]


def with_linear_probe(
    args: argparse.Namespace,
    device: torch.device,
    checkpoint: Checkpoint,
    data: IDData,
    train: Features,
    test: Features,
    evaluation: Evaluation,
) -> Evaluation:
    """The evaluation with the accuracy of a linear probe."""
    batches = None
    if args.linear_probe == "augmented":
        batches = augmented_batches(
            checkpoint.model,
            data,
            seed=args.seed,
            device=device,
            amp_type=AMP_TYPES[args.amp],
            workers=args.workers,
            channels_last=args.channels_last,
        )
    share = probe_accuracy(train, test, len(data.class_names), seed=args.seed, device=device, batches=batches)
    name = "linear_probe_augmented" if batches else "linear_probe"
    return replace(evaluation, id_accuracy={**evaluation.id_accuracy, name: share})


if __name__ == "__main__":
    run_script(main)
