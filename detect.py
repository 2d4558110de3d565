"""Tell images that are out-of-distribution (OOD) from in-distribution (ID) ones with a trained checkpoint.

    python detect.py --model cifar10/cider/resnet18-e100-s4 --images photos/    a trained model that comes along
    python detect.py --ckpt FILE --images photos/                        at the threshold that 95 % of ID images reach
    python detect.py --ckpt FILE --images photos/ --csv scores.csv --sheet sheet.png
    python detect.py --ckpt FILE --fit id_images/ --images photos/       for a checkpoint that was not evaluated here

eval_cider.py stores beside the checkpoint what this needs; --fit makes it from a folder of ID images. No training data
is needed after that. Larger scores = more in-distribution. The exit status is 0 also where OOD images were found.
"""

from utils.cli.detect import parse_arguments
from utils.cli.start import start

if __name__ == "__main__":
    start(parse_arguments, __doc__)

import argparse
import sys
import warnings
from pathlib import Path

import torch

from utils.checkpoint import load_checkpoint
from utils.cli.device import choose_device
from utils.data.image_folder import Listing, list_images, other_files_note
from utils.detection.detector import Detector, load_detector
from utils.detection.files import Results, as_lines, draw_sheet, examine_files, write_csv, write_json
from utils.detection.fit import fit_reference
from utils.detection.reference import reference_path, save_reference
from utils.errors import UserError, note, one_line, run_script, shown
from utils.evaluation.collapse import collapse, collapse_warning
from utils.evaluation.registry import SCORES, check_names
from utils.zoo import model_file

# So many images or fewer are listed on the console, too.
LISTED = 20
# A threshold from fewer images is a rough guess.
FEW_ID_IMAGES = 50


def find_images(path: Path) -> Listing:
    """The image that `path` is, or the images below it.

    Raises:
        UserError: there are none.
    """
    if path.is_file():
        return Listing((path,), ())
    listing = list_images(path)
    if not listing.paths:
        raise UserError(
            f"no images found.\n  looked for : {shown(path)}/**/*.jpg, .png, ...\n"
            f"  there are  : {len(listing.others)} files of other kinds\n  do         : check the path"
        )
    return listing


def fit(args: argparse.Namespace, device: torch.device) -> None:
    """Make the reference statistics from --fit and store them."""
    checkpoint = load_checkpoint(args.ckpt)
    place = args.reference or reference_path(args.ckpt)
    reference, notes = fit_reference(
        checkpoint,
        args.fit,
        score=args.score,
        k=args.K or 10,
        seed=args.seed or 0,
        device=device,
        batch_size=args.batch_size,
        amp=args.amp,
        channels_last=args.channels_last,
        workers=args.workers,
    )
    for text in notes:
        note(text)
    try:
        save_reference(place, reference)
    except OSError as error:
        raise UserError(
            f"the statistics could not be written: {one_line(error)}\n  do         : pass --reference FILE"
        ) from error
    print(
        f"Fitted {SCORES[reference.score].shown.format(k=reference.k)} to {args.fit}: {len(reference.bank):,} images "
        f"to compare with, {len(reference.held_out):,} held out for the threshold; written to {place}"
    )


def described_threshold(args: argparse.Namespace, detector: Detector, threshold: float) -> str:
    """The threshold and where it comes from."""
    if args.threshold is not None:
        return f"threshold {threshold:.6g} (given)"
    images = f"{len(detector.id_scores):,} images of {detector.reference.source}"
    return f"threshold {threshold:.6g}, which {100 * args.id_recall:g} % of {images} reach"


def report(args: argparse.Namespace, results: Results, detector: Detector) -> None:
    """Print the summary and write what was asked for."""
    threshold = detector.threshold(args.id_recall) if args.threshold is None else args.threshold
    total, accepted = len(results.images), sum(each.score >= threshold for each in results.images)
    how = f"{detector.shown} score, larger = more ID; {described_threshold(args, detector, threshold)}"
    if total <= LISTED:
        print(as_lines(results, threshold))
    for fault in results.faults:
        print(f"not readable: {shown(fault.path)} ({fault.reason})", file=sys.stderr)
    unread = f", {len(results.faults):,} not readable" if results.faults else ""
    share = 100 * (total - accepted) / total
    found = f"{total:,} images: {accepted:,} ID, {total - accepted:,} OOD ({share:.1f} %){unread}"
    print(f"{found}\n{how}")
    try:
        if args.csv:
            write_csv(args.csv, results, threshold)
            print(f"Written: {args.csv}")
        if args.json:
            write_json(args.json, results, threshold, score=detector.shown, checkpoint=args.ckpt)
            print(f"Written: {args.json}")
        if args.sheet:
            draw_sheet(args.sheet, results, threshold, args.sheet_images, title=f"{args.images}: {found}", subtitle=how)
            print(f"Written: {args.sheet}")
    except OSError as error:
        raise UserError(
            f"the results could not be written: {one_line(error)}\n  do         : pass another FILE"
        ) from error


def warn_of_collapse(detector: Detector) -> None:
    """Say so where the network does not hold its classes apart."""
    checkpoint = detector.checkpoint
    fault = collapse(len(detector.class_names), detector.reference.id_accuracy, checkpoint.prototypes)
    if fault:
        print(collapse_warning(fault, checkpoint.args), file=sys.stderr)


def main() -> None:
    """Fit where asked for, then score the images and report."""
    args = parse_arguments(__doc__)
    device = choose_device(args)
    check_names([args.score] if args.score else [])
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    if args.model:
        args.ckpt = model_file(args.model)
        args.reference = args.reference or reference_path(args.ckpt, small=True)
    listing = find_images(args.images) if args.images else None
    if args.fit:
        fit(args, device)
    if listing is None:
        return
    detector = load_detector(
        args.ckpt,
        reference=args.reference,
        score=args.score,
        device=device,
        amp=args.amp,
        channels_last=args.channels_last,
        batch_size=args.batch_size,
    )
    warn_of_collapse(detector)
    if args.threshold is None and len(detector.id_scores) < FEW_ID_IMAGES:
        print(
            f"warning: the threshold comes from {len(detector.id_scores)} images only and is a rough one",
            file=sys.stderr,
        )
    for text in other_files_note(str(args.images), listing.others):
        note(text)
    report(args, examine_files(detector, listing.paths, batch_size=args.batch_size, threads=args.workers), detector)


if __name__ == "__main__":
    run_script(main)
