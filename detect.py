"""Tell images that are out-of-distribution (OOD) from in-distribution (ID) ones with a trained checkpoint.

    python detect.py --model cifar10/cider/resnet18-e500-s4 --images photos/    a trained model that comes along
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
from pathlib import Path
from typing import Any

from utils.checkpoint import load_checkpoint
from utils.cli.device import choose_device
from utils.data.image_folder import Listing, list_images, other_files_note
from utils.detection.detector import Detector, load_detector
from utils.detection.files import Fault, Result, as_lines, draw_sheet, examine_files, images_of, write_csv, write_json
from utils.detection.fit import fit_reference
from utils.detection.reference import reference_path, save_reference
from utils.errors import UserError, note, one_line, run_script, shown, warn
from utils.evaluation.collapse import collapse, collapse_warning
from utils.evaluation.registry import SCORES, check_names
from utils.files import require_place
from utils.zoo import model_file

# So many images or fewer are listed on the console, too.
LISTED = 20
# A threshold from fewer images is a rough guess.
FEW_ID_IMAGES = 50


def find_images(path: Path) -> Listing:
    """The image that `path` is, or the images below it; a UserError where there are none."""
    if path.is_file():
        return Listing((path,), ())
    listing = list_images(path)
    if not listing.paths:
        raise UserError(
            f"no images found.\n  looked for : {shown(path)}/**/*.jpg, .png, ...\n"
            f"  there are  : {len(listing.others)} files of other kinds\n  do         : check the path"
        )
    return listing


def fit(args: argparse.Namespace, **settings: Any) -> None:
    """Make the reference statistics from --fit and store them; `settings`: how features are computed."""
    place = args.reference or reference_path(args.ckpt)
    try:
        require_place(place)
    except UserError as error:
        raise UserError(f"{error}\n  do         : pass --reference FILE") from error
    chosen = {"score": args.score, "k": args.K or 10, "seed": args.seed or 0}
    reference = fit_reference(load_checkpoint(args.ckpt), args.fit, **chosen, workers=args.workers, **settings)
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


def report(args: argparse.Namespace, rows: list[Result | Fault], detector: Detector) -> None:
    """Print the summary and write what was asked for."""
    images, source = images_of(rows), "given"
    threshold = args.threshold
    if threshold is None:
        threshold = detector.threshold(args.id_recall)
        count, of = len(detector.id_scores), detector.reference.source
        source = f"which {100 * args.id_recall:g} % of {count:,} images of {of} reach"
    if len(images) <= LISTED:
        print(as_lines(images, threshold))
    for row in rows:
        if isinstance(row, Fault):
            print(f"not readable: {shown(row.path)} ({row.error})", file=sys.stderr)
    accepted = sum(each.score >= threshold for each in images)
    rejected, unread = len(images) - accepted, len(rows) - len(images)
    found = f"{len(images):,} images: {accepted:,} ID, {rejected:,} OOD ({100 * rejected / len(images):.1f} %)"
    found += f", {unread:,} not readable" * bool(unread)
    how = f"{detector.shown} score, larger = more ID; threshold {threshold:.6g}, {source}"
    print(f"{found}\n{how}")
    try:
        if args.csv:
            write_csv(args.csv, rows, threshold)
        if args.json:
            write_json(args.json, rows, threshold, score=detector.shown, checkpoint=args.ckpt)
        if args.sheet:
            draw_sheet(args.sheet, images, threshold, args.sheet_images, title=f"{args.images}: {found}", subtitle=how)
    except OSError as error:
        raise UserError(
            f"the results could not be written: {one_line(error)}\n  do         : pass another FILE"
        ) from error
    for path in filter(None, (args.csv, args.json, args.sheet)):
        print(f"Written: {path}")


def warn_of_doubts(args: argparse.Namespace, detector: Detector) -> None:
    """Say so where the network does not hold its classes apart, or the threshold comes from few images."""
    checkpoint, count = detector.checkpoint, len(detector.id_scores)
    if fault := collapse(len(detector.class_names), detector.reference.id_accuracy, checkpoint.prototypes):
        print(collapse_warning(fault, checkpoint.args), file=sys.stderr)
    if args.threshold is None and count < FEW_ID_IMAGES:
        warn(f"the threshold comes from {count} images only and is a rough one")


def main() -> None:
    """Fit where asked for, then score the images and report."""
    args = parse_arguments(__doc__)
    settings = {
        "device": choose_device(args),
        "batch_size": args.batch_size,
        "amp": args.amp,
        "channels_last": args.channels_last,
    }
    check_names([args.score] if args.score else [])
    for path in filter(None, (args.csv, args.json, args.sheet)):
        require_place(path)
    if args.model:
        args.ckpt = model_file(args.model)
        args.reference = args.reference or reference_path(args.ckpt, small=True)
    listing = find_images(args.images) if args.images else None
    if args.fit:
        fit(args, **settings)
    if listing is None:
        return
    detector = load_detector(args.ckpt, reference=args.reference, score=args.score, **settings)
    warn_of_doubts(args, detector)
    for text in other_files_note(str(args.images), listing.others):
        note(text)
    report(args, examine_files(detector, listing.paths, threads=args.workers), detector)


if __name__ == "__main__":
    run_script(main)
