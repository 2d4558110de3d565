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
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from utils.checkpoint import Checkpoint, load_checkpoint
from utils.cli.device import choose_device
from utils.data.id_records import id_set
from utils.data.id_sets import IDData, limited
from utils.detection.fit import keep_reference
from utils.errors import UserError, note, run_script
from utils.evaluation import report, tables
from utils.evaluation.benchmark import BENCHMARKS
from utils.evaluation.collapse import collapse, collapse_warning
from utils.evaluation.drawing import Album
from utils.evaluation.evaluation import Evaluation
from utils.evaluation.folder import evaluation_folder
from utils.evaluation.inputs import find_checkpoint, load_id_data
from utils.evaluation.method_tables import make_tables, sweep_tables
from utils.evaluation.ood import OODSets, lists_of, load_ood_sets
from utils.evaluation.projection import write_projector
from utils.evaluation.registry import check_names
from utils.evaluation.run import evaluate_images
from utils.evaluation.scored import narrowed, scored_lists, unlabelled_of, usual_ood_sets, what_is_scored
from utils.files import require_writable
from utils.training.run_folder import environment


def main() -> None:
    """Options, data, evaluation, report."""
    args = parse_arguments(__doc__)
    device = choose_device(args)
    check_names(name for name in args.score or () if name != "all")
    checkpoint = load_checkpoint(args.ckpt or find_checkpoint(args.checkpoints, args.in_dataset, args.name, args.epoch))
    say(f"{checkpoint.path}: {checkpoint.method.label}, epoch {checkpoint.epoch}, on {device}")
    wanted = args.out or checkpoint.path.parent / f"eval_{checkpoint.epoch}"
    find_folder = partial(evaluation_folder, wanted, checkpoint, args.settings, overwrite=args.overwrite)
    find_folder()  # so that a place that cannot be written ends this before anything slow

    data, ood, scored = load_images(args, checkpoint)

    evaluation = evaluate_and_keep(args, device, checkpoint, data, ood)

    fault = collapse(len(data.class_names), evaluation.id_accuracy["knn"], checkpoint.prototypes)
    found = make_tables(
        checkpoint,
        data,
        ood,
        evaluation,
        benchmark=BENCHMARKS[args.benchmark],
        scored=scored,
        notes=[*([f"THIS NETWORK HAS COLLAPSED: {fault}"] if fault else []), *evaluation.notes],
    )
    swept = sweep_tables(found[0], evaluation.sweep)
    for each in filter(None, (found, swept)):
        print(tables.to_text(*each))
    if fault:
        print(collapse_warning(fault, checkpoint.args), file=sys.stderr)
    facts = facts_of(args, checkpoint, data, ood) | {"scored": scored, "collapsed": fault}
    say("writing and drawing")
    out = find_folder()  # now, for another evaluation may have finished meanwhile
    try:
        written = report.write_numbers(out, found, ood, evaluation, facts)
        written += report.write_tables(out, "k_sweep", swept) if swept else []
        report.remove_pictures(out)
        if not args.no_plots:
            of = f"{found[0].method} {found[0].arch}, {data.name}, {checkpoint.path.parent.name}"
            album = Album(out, f"{of}, epoch {checkpoint.epoch}", args.style)
            pictures = {"projection": args.projection, "seed": args.seed}
            written += report.draw(album, found[0], evaluation, data.class_names, checkpoint.prototypes, **pictures)
        written += [write_projector(out, evaluation, data.class_names, seed=args.seed)] if args.projector else []
    except OSError as error:
        raise UserError(f"the results could not be written: {error}\n  do         : pass --out DIR") from error
    print(f"Written to {out}: {' '.join(path.name for path in written)}")


def load_images(args: argparse.Namespace, checkpoint: Checkpoint) -> tuple[IDData, OODSets, dict | None]:
    """The ID set and the OOD sets, those of their images that are scored, and what metrics.json says of these."""
    say("reading the images")
    data = load_id_data(checkpoint, args.in_dataset, args.id_loc, image_size=args.image_size, download=args.download)
    if args.bank:
        data = with_bank(args, data)
    largest = {"--K": args.K if isinstance(args.K, int) else 1, "--K-sweep": max(args.K_sweep or [1])}
    for flag, k in largest.items():
        if k > len(data.train):
            raise UserError(f"{flag} {k} needs as many ID training images, but there are {len(data.train):,}")
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
    data, ood = narrowed(data, ood, lists)
    return data, ood, what_is_scored(ood, lists, args.scored)


def with_bank(args: argparse.Namespace, data: IDData) -> IDData:
    """The ID set with the training images of --bank; sets --K, where it is not given, in proportion."""
    bank = limited(data, args.bank, args.seed)
    share = len(bank.train) / len(data.train)
    args.K = args.K or max(1, round(share * id_set(data.name).k))
    return replace(bank, notes=(*bank.notes, f"{len(bank.train):,} of {len(data.train):,} ID training images are used"))


def evaluate_and_keep(
    args: argparse.Namespace, device: torch.device, checkpoint: Checkpoint, data: IDData, ood: OODSets
) -> Evaluation:
    """Features, scores and metrics; beside the checkpoint, if it can be written there, what detect.py needs."""
    place: Path | None = checkpoint.path.parent
    try:
        require_writable(place)
    except UserError as error:
        note(f"no features are kept, and no statistics for detect.py: {error}")
        place = None
    cache = args.cache_dir or (place and place / "features")
    if args.channels_last:
        checkpoint.model.to(memory_format=torch.channels_last)
    evaluation = evaluate_images(
        checkpoint,
        data,
        ood,
        BENCHMARKS[args.benchmark],
        {
            "device": device,
            "batch_size": args.batch_size,
            "amp": args.amp,
            "workers": args.workers,
            "cache_dir": None if args.no_cache else cache,
        },
        scores=args.score or (),
        k=args.K,
        ood_root=args.ood_loc,
        linear_probe=args.linear_probe,
        seed=args.seed,
        positive=args.positive,
        resamples=args.bootstrap,
        sweep=args.K_sweep or (),
    )
    if place:
        keep_reference(checkpoint, data, evaluation, small=args.bank is not None)
    return evaluation


def facts_of(args: argparse.Namespace, checkpoint: Checkpoint, data: IDData, ood: OODSets) -> dict[str, Any]:
    """What metrics.json states beside numbers: what was evaluated, how, and where."""
    benchmark = BENCHMARKS[args.benchmark]
    return report.about(checkpoint, data, ood, args.settings) | {
        "environment": environment(),
        "benchmark": benchmark.name,
        **({"lists_sha256": lists_of(benchmark).lists_sha256()} if benchmark.lists else {}),
        "unlabelled": unlabelled_of(checkpoint),
    }


def say(text: str) -> None:
    """A line for who waits at a terminal, among the progress bars; nothing where the output goes to a file."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    run_script(main)
