"""Make ImageNet-100, the 100 classes of ImageNet that CIDER's checkpoint was trained on, or another choice of classes.

    python scripts/make_imagenet100.py /data/imagenet                   datasets/ImageNet100/{train,val}, as links
    python scripts/make_imagenet100.py /data/imagenet DEST --copy       copies; goes on where it was interrupted
    python scripts/make_imagenet100.py /data/imagenet DEST --random 100 --seed 1         classes drawn at random
    python scripts/make_imagenet100.py /data/imagenet DEST --classes other/classes.txt   the classes of a list

SRC has train/<wnid>/ and val/<wnid>/, where a wnid is a name such as n01440764. The classes that were taken are listed
in DEST/classes.txt, which --classes can read. The exit status is 1 when something is missing or in the way.
"""

import argparse
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils.cli.prepare import parse_make_imagenet100 as parse_arguments
from utils.cli.start import start

if __name__ == "__main__":
    start(parse_arguments, __doc__)

from utils.data.id_records import ID_SETS
from utils.data.imagenet import PUBLIC_LIST, read_class_list
from utils.errors import UserError, note, run_script
from utils.prepare.imagenet import (
    PARTS,
    choose_images,
    count_notes,
    find_imagenet,
    is_made,
    make_part,
    write_class_list,
)
from utils.prepare.prepare import draw


def choose_classes(args: argparse.Namespace, known: set[str]) -> tuple[list[str], str]:
    """The classes, sorted, and how they were chosen; `known` are those of which there are images."""
    if not args.random:
        return sorted(read_class_list(args.classes or PUBLIC_LIST)), f"those of {args.classes or 'the public list'}"
    if not 2 <= args.random <= len(known):
        raise UserError(
            f"--random {args.random}: a number from 2 to {len(known):,} is needed, which are in train and val"
        )
    seed = args.seed or 0
    how = f'{args.random:,} of {len(known):,}, those with the smallest SHA-256 of "{seed}:<wnid>"'
    return draw(sorted(known), args.random, seed), how


def main() -> None:
    """Look at everything, then make what is not there yet."""
    args = parse_arguments(__doc__)
    parts = find_imagenet(args.source, args.val_labels)
    names, how = choose_classes(args, parts["train"].keys() & parts["val"].keys())
    chosen = choose_images(parts, names)
    made = {part: is_made(args.destination / part, parts[part], chosen[part]) for part in PARTS}
    print(f"{args.destination}: {len(names):,} classes, {how}")
    if not (args.dry_run or all(made.values())):
        write_class_list(args.destination / "classes.txt", names, f"{len(names):,} classes of ImageNet: {how}")
    done = f"{'would be ' if args.dry_run else ''}{'copied' if args.copy else 'linked'}"
    for part in PARTS:
        if not (made[part] or args.dry_run):
            make_part(args.destination / part, parts[part], chosen[part], copy=args.copy)
        images = sum(map(len, chosen[part].values()))
        print(f"  {part:<5} {images:>9,} images  {'there already' if made[part] else done}")
    for text in count_notes(chosen):
        note(text)
    usual = args.destination.resolve() == ID_SETS["ImageNet-100"].folder.resolve()
    place = [] if usual else ["--id_loc", str(args.destination)]
    print(f"Train on it: {shlex.join(['sh', 'scripts/train_cider_imgnet100.sh', *place])}")


if __name__ == "__main__":
    run_script(main)
