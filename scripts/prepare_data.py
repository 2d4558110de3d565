"""Get the data sets: list them, download and unpack them, check what is there.

    python scripts/prepare_data.py --list                        every set: source, size, checksum, licence, state
    python scripts/prepare_data.py --only CIFAR-10 SVHN LSUN     download, verify, unpack
    python scripts/prepare_data.py --only all                    everything that a script can fetch, about 6 GB and more
    python scripts/prepare_data.py --check                       counts and checksums of what is there
    python scripts/prepare_data.py --check --decode --only ImageNet-100         name the images that cannot be decoded

Sets go to datasets/ of this repository in the layout of the official CIDER code, which datasets/README.md shows. The
exit status is 1 when a set could not be prepared, or when --check finds one that is not as it should be.
"""

import shutil
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils.cli.prepare import parse_prepare_data as parse_arguments
from utils.cli.start import start

if __name__ == "__main__":
    start(parse_arguments, __doc__)

from utils.data.id_records import full_id_name, id_set
from utils.data.ood_table import OOD_SETS, OODSet, find_ood_set
from utils.errors import UserError, run_script
from utils.files import atomic_write
from utils.prepare.datasets_readme import count_text, readme_text, size_text
from utils.prepare.download import megabytes
from utils.prepare.inventory import check, check_imagenet_100, look
from utils.prepare.prepare import prepare
from utils.prepare.sources import BY_HAND, Source, places_of, source_of

# What --list may say of a set that it has counted and not read.
STATES = {"missing": "missing", "found": "there, not read", "other": "other"}


def main() -> int:
    """Do what the command line asks for; returns the exit status."""
    args = parse_arguments(__doc__)
    if args.readme:
        with atomic_write(args.root / "README.md", "w") as stream:
            stream.write(readme_text())
        print(f"written: {args.root / 'README.md'}")
        return 0
    if args.list:
        return list_sets(choose(args.only), args.root, everything=args.only is None)
    return (
        check_sets(args.only, args.root, decode=args.decode)
        if args.check
        else prepare_sets(choose(args.only), args.root)
    )


def choose(names: list[str] | None) -> list[OODSet]:
    """Rows of the table by name, in the order of the table; None and "all" stand for every one that can be fetched.

    Raises:
        UserError: an unknown name, or a set that only a person can fetch.
    """
    fetchable = [row for row in OOD_SETS if row.kind != "generated"]
    if names is None or [name.lower() for name in names] == ["all"]:
        return fetchable
    for name in names:
        row = find_ood_set(name)
        by_hand = next((item for item in BY_HAND if item.name.casefold() == name.casefold()), None)
        if by_hand is not None:
            raise UserError(
                f"{by_hand.name} has to be fetched by hand.\n  from       : {by_hand.how}\n"
                f"  to         : {by_hand.place}"
            )
        if row is None:
            known = ", ".join(row.name for row in fetchable)
            raise UserError(f"unknown set: {name}\n  known      : {known}\n  or         : all")
        if row.kind == "generated":
            raise UserError(f"{row.name} needs nothing on disk: it is made when it is used")
    chosen = [find_ood_set(name) for name in names]
    return [row for row in fetchable if row in chosen]


def list_sets(rows: list[OODSet], root: Path, *, everything: bool) -> int:
    """Print what each set is, where it comes from, and what of it is there."""
    print(f"data root: {root}   ({megabytes(free_space(root))} free)\n")
    for row in rows:
        found, source = look(row, root), source_of(row)
        print(f"{row.name:<20} {STATES[found.state]}{': ' + found.what if found.what else ''}")
        facts = {
            "place": " and ".join(str(place) for place in places_of(row, root)),
            "source": source.address,
            "size": size_text(row),
            "images": count_text(row),
            "checksum": checksum_text(source),
            "licence": row.licence,
        }
        if found.state == "other" and found.place not in places_of(row, root):
            facts["found at"] = str(found.place)
        print("".join(f"    {name:<10} {value}\n" for name, value in facts.items()))
    if everything:
        for row in OOD_SETS:
            if row.kind == "generated":
                print(
                    f"{row.name:<20} needs nothing on disk\n    {'source':<10} {row.source}\n"
                    f"    {'licence':<10} {row.licence}\n"
                )
        for item in BY_HAND:
            print(f"{item.name:<24} by hand\n    {'place':<10} {item.place}\n    {'source':<10} {item.how}\n")
    return 0


def checksum_text(source: Source) -> str:
    """The published checksum of a source, in words where there is none."""
    return f"md5 {source.md5}" if source.md5 else "none published; the number of images is checked"


def free_space(root: Path) -> int:
    """Bytes free on the disk that the data root is on, whether or not the folder exists yet."""
    existing = next(place for place in (root.absolute(), *root.absolute().parents) if place.exists())
    return shutil.disk_usage(existing).free


def check_sets(names: list[str] | None, root: Path, *, decode: bool) -> int:
    """Read every set that is there, ImageNet-100 too, and print what is wrong with it; 1 if anything is."""
    imagenet = id_set("ImageNet-100")
    others = None if names is None else [name for name in names if full_id_name(name) != imagenet.name]
    rows = [] if others == [] else choose(others)
    checks = {row.name: partial(check, row, source_of(row), root) for row in rows}
    if others is None or len(others) < len(names):
        checks[imagenet.name] = partial(check_imagenet_100, root / imagenet.folder.name)
    wrong = 0
    for name, read in checks.items():
        found, faults = read(decode=decode)
        print(
            f"{name:<20} {'wrong' if faults else 'missing' if found.state == 'missing' else 'right'}"
            f"{'' if found.state == 'missing' else f': {found.what}, {found.place}'}",
            flush=True,
        )
        for fault in faults:
            print(f"    {fault}")
        wrong += bool(faults)
    return int(wrong > 0)


def prepare_sets(rows: list[OODSet], root: Path) -> int:
    """Prepare one set after the other; a set that fails does not keep the next from being prepared."""
    print(f"data root: {root}   ({megabytes(free_space(root))} free)")
    failed = []
    for row in rows:
        source = source_of(row)
        print(f"{row.name}: {source.address} ({size_text(row)})", flush=True)
        try:
            print(f"    {prepare(row, source, root)}")
        except UserError as error:
            failed.append(row.name)
            print(f"{Path(sys.argv[0]).name}: error: {error}", file=sys.stderr)
    if failed:
        print(f"not prepared: {', '.join(failed)}", file=sys.stderr)
    downloads = [file for file in (root / "downloads").glob("*") if file.is_file()]
    if downloads:
        size = sum(file.stat().st_size for file in downloads)
        print(f"{root / 'downloads'} holds {megabytes(size)}; what is unpacked is no longer needed there")
    return int(bool(failed))


if __name__ == "__main__":
    run_script(main)
