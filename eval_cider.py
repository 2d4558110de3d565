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
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from utils.checkpoint import Checkpoint, load_checkpoint
from utils.cli.device import choose_device
from utils.data.id_records import id_set
from utils.data.id_sets import IDData
from utils.data.ood_sets import load_ood
from utils.detection.fit import keep_reference
from utils.errors import UserError, run_script
from utils.evaluation import plots, report, tables
from utils.evaluation.evaluation import ID_TEST, Evaluation, Space, evaluate, normalised_space, unit_penultimate
from utils.evaluation.features import AMP_TYPES, Features, extract
from utils.evaluation.inputs import OODSets, about, find_checkpoint, load_id_data, load_ood_sets
from utils.evaluation.method_tables import NOISE, chosen_k_line, make_tables, sweep_tables
from utils.evaluation.neighbours import choose_k, sweep_k
from utils.evaluation.probe import augmented_batches, probe_accuracy
from utils.evaluation.projector import write_projector
from utils.evaluation.registry import check_names, chosen_scores
from utils.evaluation.score_parts import Ingredients, Score
from utils.evaluation.scored import narrowed, scored_lists, scored_note, unlabelled_of, usual_ood_sets, what_is_scored
from utils.training.run_folder import environment


def chosen(args: argparse.Namespace, checkpoint: Checkpoint, given: Ingredients) -> list[Score]:
    """The scores that were asked for, or the usual one of the method; says which ones `all` leaves out."""
    method = checkpoint.method
    scores, left_out = chosen_scores(args.score or [method.score], given, method.label)
    for reason in left_out:
        print(f"note: {reason}", file=sys.stderr)
    return scores


def check_neighbours(args: argparse.Namespace, data: IDData) -> None:
    """Raise a UserError where a K is larger than the training set."""
    wanted = [*(args.K_sweep or ()), args.K if isinstance(args.K, int) else 1]
    if max(wanted) > len(data.train):
        flag = "--K" if args.K == max(wanted) else "--K-sweep"
        raise UserError(f"{flag} {max(wanted)} needs as many ID training images, but there are {len(data.train):,}")


def extractor(args: argparse.Namespace, device: torch.device, checkpoint: Checkpoint, data: IDData) -> Any:
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
        cache_dir=None if args.no_cache else args.cache_dir or checkpoint.path.parent / "features",
        checkpoint_sha=checkpoint.sha256,
    )


def neighbour(
    args: argparse.Namespace, data: IDData, ood: OODSets, space: Space, features_of: Any
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


def add_linear_probe(
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


def write(
    args: argparse.Namespace,
    checkpoint: Checkpoint,
    data: IDData,
    evaluation: Evaluation,
    found: list[tables.Table],
    sweep: dict[int, dict[str, dict[str, float]]],
    k: int,
    scored: dict[str, Any] | None,
) -> None:
    """Everything that is left in the folder of the evaluation."""
    out = args.out or checkpoint.path.parent / f"eval_{checkpoint.epoch}"
    facts = about(checkpoint, data, vars(args), environment())
    facts |= {"unlabelled": unlabelled_of(checkpoint), "scored": scored, "id_files_official": data.official}
    if sweep:
        facts["k_sweep"] = sweep
    try:
        written = report.write_numbers(out, found, evaluation, facts)
        if sweep:
            written += report.write_tables(out, "k_sweep", sweep_tables(found[0], sweep))
        if not args.no_plots:
            written += report.draw(
                out,
                evaluation,
                class_names=data.class_names,
                prototypes=checkpoint.prototypes,
                projection=args.projection,
                seed=args.seed,
            )
            if sweep:
                plots.metrics_over_k(out / "k_sweep", sweep, k)
                written.append(out / "k_sweep.png")
        if args.projector:
            written.append(write_projector(out, evaluation, data.class_names, seed=args.seed))
    except OSError as error:
        raise UserError(f"the results could not be written: {error}\n  do         : pass --out DIR") from error
    print(f"Written to {out}: {' '.join(path.name for path in written)}")


def evaluate_checkpoint(
    args: argparse.Namespace, device: torch.device, checkpoint: Checkpoint, data: IDData, ood: OODSets
) -> None:
    """Extract, score, print and write."""
    lists = scored_lists(checkpoint, args.scored)
    scored = what_is_scored(ood, lists, args.scored)
    data, ood = narrowed(data, ood, lists)
    given = Ingredients.of(checkpoint, k=1, device=device, mean=data.mean, std=data.std, workers=args.workers)
    scores = chosen(args, checkpoint, given)
    features_of = extractor(args, device, checkpoint, data)
    others = {name: features_of(images) for name, images in ood.images.items()}
    train, test = features_of(data.train), features_of(data.test)
    space = normalised_space(train, test, others, len(data.class_names), device)
    k, notes = neighbour(args, data, ood, space, features_of)
    notes = [*([scored_note(scored)] if scored else []), *notes, *data.notes]
    evaluation = evaluate(
        train,
        test,
        others,
        scores=scores,
        given=replace(given, k=k),
        space=space,
        images={ID_TEST: data.test, **ood.images},
        positive=args.positive,
        resamples=args.bootstrap,
        seed=args.seed,
    )
    if args.linear_probe:
        evaluation = add_linear_probe(args, device, checkpoint, data, train, test, evaluation)
    id_scores = {result.name: torch.from_numpy(result.id_scores) for result in evaluation.results}
    keep_reference(checkpoint, data, train, test, id_scores=id_scores, k=k, id_accuracy=evaluation.id_accuracy["knn"])
    found = make_tables(checkpoint, data.name, ood, evaluation, positive=args.positive, notes=notes)
    print(tables.to_text(*found))
    sweep = {}
    if args.K_sweep:
        id_rows, ood_rows = space.features[ID_TEST], {name: space.features[name] for name in others}
        sweep = sweep_k(space.bank, id_rows, ood_rows, args.K_sweep, positive=args.positive)
        print(tables.to_text(*sweep_tables(found[0], sweep)))
    write(args, checkpoint, data, evaluation, found, sweep, k, scored)


def main() -> None:
    """Find and load, then evaluate."""
    args = parse_arguments(__doc__)
    device = choose_device(args)
    check_names(name for name in args.score or () if name != "all")
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    path = args.ckpt or find_checkpoint(args.checkpoints, args.in_dataset, args.name, args.epoch)
    checkpoint = load_checkpoint(path)
    data = load_id_data(checkpoint, args.in_dataset, args.id_loc, image_size=args.image_size, download=args.download)
    check_neighbours(args, data)
    ood = load_ood_sets(data, args.ood_sets or usual_ood_sets(checkpoint, data.name), args.ood_loc, seed=args.seed)
    for note in (*data.notes, *(f"{name}: {note}" for name, images in ood.images.items() for note in images.notes)):
        print(f"note: {note}", file=sys.stderr)
    evaluate_checkpoint(args, device, checkpoint, data, ood)


if __name__ == "__main__":
    run_script(main)
