"""Get the data sets: list them, download and unpack them, check what is there.

    python scripts/prepare_data.py --list                        every set: source, size, checksum, licence, state
    python scripts/prepare_data.py --only CIFAR-10 SVHN LSUN     download, verify, unpack
    python scripts/prepare_data.py --only all                    everything that a script can fetch, about 6 GB and more
    python scripts/prepare_data.py --check                       counts and checksums of what is there
    python scripts/prepare_data.py --check --decode --only ImageNet-100         name the images that cannot be decoded

Sets go to datasets/ of this repository in the layout of the official CIDER code, which datasets/README.md shows. The
exit status is 1 when a set could not be prepared, or when --check finds one that is not as it should be.
"""

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
from utils.prepare.inventory import check, check_imagenet_100, look
from utils.prepare.prepare import prepare
from utils.prepare.sources import BY_HAND, downloads_of, places_of


def main() -> int:
    """Do what the command line asks for; returns the exit status."""
    args = parse_arguments(__doc__)
    if args.check:
        return check_sets(args.only, args.root, decode=args.decode)
    rows = choose(args.only)
    print(f"data root: {args.root}")
    if args.list:
        list_sets(rows, args.root, everything=args.only is None)
        return 0
    return prepare_sets(rows, args.root)


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


def list_sets(rows: list[OODSet], root: Path, *, everything: bool) -> None:
    """Print what each set is, where it comes from, and what of it is there."""
    for row in rows:
        found = look(row, root)
        places = places_of(row, root)
        checksums = ", ".join(download.md5 for download in downloads_of(row, root) if download.md5)
        facts = {
            "place": " and ".join(map(str, places)),
            "source": row.source,
            "size": size_text(row),
            "images": f"60,000 ({row.count:,} as OOD set)" if row.kind == "cifar" else f"{row.count:,}",
            "checksum": f"md5 {checksums}" if checksums else "none published; the number of images is checked",
            "licence": row.licence,
        }
        if found.state == "other" and found.place not in places:
            facts["found at"] = str(found.place)
        state = "there, not read" if found.state == "found" else found.state
        show(row.name, f"{state}{': ' + found.what if found.what else ''}", facts)
    if everything:
        for row in OOD_SETS:
            if row.kind == "generated":
                show(row.name, "needs nothing on disk", {"source": row.source, "licence": row.licence})
        for item in BY_HAND:
            show(item.name, "by hand", {"place": item.place, "source": item.how})


def show(name: str, state: str, facts: dict[str, str]) -> None:
    """Print a set and what is known of it."""
    print(f"\n{name:<20} {state}")
    for fact, value in facts.items():
        print(f"    {fact:<10} {value}")


def size_text(row: OODSet) -> str:
    """How large the download is, as far as it is known before it starts."""
    return "size not stated" if row.megabytes is None else f"about {row.megabytes:,} MB"


def check_sets(names: list[str] | None, root: Path, *, decode: bool) -> int:
    """Read every set that is there, ImageNet-100 too, and print what is wrong with it; 1 if anything is."""
    imagenet = id_set("ImageNet-100")
    others = None if names is None else [name for name in names if full_id_name(name) != imagenet.name]
    rows = [] if others == [] else choose(others)
    checks = {row.name: partial(check, row, root) for row in rows}
    if others is None or len(others) < len(names):
        checks[imagenet.name] = partial(check_imagenet_100, root / imagenet.folder.name)
    status = 0
    for name, read in checks.items():
        found, faults = read(decode=decode)
        if found.state == "missing":
            print(f"{name:<20} missing")
            continue
        print(f"{name:<20} {'wrong' if faults else 'right'}: {found.what}, {found.place}", flush=True)
        for fault in faults:
            print(f"    {fault}")
            status = 1
    return status


def prepare_sets(rows: list[OODSet], root: Path) -> int:
    """Prepare one set after the other; a set that fails does not keep the next from being prepared."""
    failed = []
    for row in rows:
        print(f"{row.name}: {row.source} ({size_text(row)})", flush=True)
        try:
            print(f"    {prepare(row, root)}")
        except UserError as error:
            failed.append(row.name)
            print(f"{Path(sys.argv[0]).name}: error: {error}", file=sys.stderr)
    if failed:
        print(f"not prepared: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    run_script(main)
