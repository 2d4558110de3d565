"""The text of datasets/README.md, made from the table of sets so that the two cannot disagree."""

from pathlib import Path

from utils.data.ood_files import list_file_beside
from utils.data.ood_table import OOD_SETS, OODSet
from utils.data.svhn import FULL_FILE, PER_DIGIT, SELECTED_FILE
from utils.prepare.inventory import RECORDS
from utils.prepare.prepare import SEED
from utils.prepare.sources import BY_HAND, archive_of, places_of, source_of

_ROOT = Path("datasets")


def readme_text() -> str:
    """All of datasets/README.md, with `datasets` as the data root."""
    rows = [row for row in OOD_SETS if row.kind != "generated"]
    return "\n".join([_HEAD, _tree(rows), _MIDDLE, _table(rows), "", _details(rows), _by_hand()])


_HEAD = """# Data sets

Written by `python scripts/prepare_data.py --readme` from the table in `utils/data/ood_table.py`: change that, not this.

    python scripts/prepare_data.py --list                     every set, and whether it is here (counted)
    python scripts/prepare_data.py --only CIFAR-10 SVHN       download, verify, unpack
    python scripts/prepare_data.py --check                    counts and checksums of what is here (--decode: images)

The `digits` ID set and its OOD sets need nothing from here. Another folder than `datasets/`: `--root`, and then
`--id-loc` and `--ood-loc` of the other scripts. The tree:
"""

_MIDDLE = """
## Where each set comes from
"""


def size_text(row: OODSet) -> str:
    """How large the download is, as far as it is known before it starts."""
    return "size not stated" if row.megabytes is None else f"about {row.megabytes:,} MB"


def count_text(row: OODSet) -> str:
    """Number of images."""
    return f"60,000 ({row.count:,} as OOD set)" if row.kind == "cifar" else f"{row.count:,}"


def _tree(rows: list[OODSet]) -> str:
    lines = ["```", "datasets/"]
    for row in rows:
        first, *links = (place.relative_to(_ROOT) for place in places_of(row, _ROOT))
        lines.append(f"  {f'{first}/':<52}{row.name}")
        if row.kind == "svhn":
            lines[-1] += f": {FULL_FILE}, or {SELECTED_FILE}"
        lines += [f"  {f'{link}/':<52}link to the one above" for link in links]
    lines += [
        f"  {'ImageNet100/train/<wnid>/, ImageNet100/val/<wnid>/':<52}ImageNet-100",
        f"  {'downloads/':<52}archives; they can be deleted once unpacked",
        f"  {RECORDS:<52}digests of what was unpacked, for --check",
        "```",
    ]
    return "\n".join(lines)


def _table(rows: list[OODSet]) -> str:
    lines = ["| set | images | download | MD5 | licence or terms |", "|---|---|---|---|---|"]
    for row in rows:
        source = source_of(row)
        address = f"<{source.address}>, {size_text(row)}"
        md5 = source.md5 or "none published"
        lines.append(f"| {row.name} | {count_text(row)} | {address} | {md5} | {row.licence} |")
    return "\n".join(lines)


def _details(rows: list[OODSet]) -> str:
    drawn = next(row for row in rows if row.drawn)
    svhn = next(row for row in rows if row.kind == "svhn")
    by_hand = archive_of(svhn, source_of(svhn), _ROOT)
    listed = list_file_beside(places_of(drawn, _ROOT)[0])
    return f"""Several of these links are dead at times. If one fails, get the file elsewhere, put it at
`{_ROOT / "downloads"}/` under its own name (SVHN: `{by_hand}`)
and run the same command again: it is verified and unpacked as if it had been downloaded. A download that breaks off is
tried again, and leaves nothing behind where it fails.

* A set takes its place only if its number of images is right; where an MD5 is published, the file must have it.
  Another selection of the same images (torchvision's Places365 and iNaturalist) is another set: evaluate it as
  `NAME=PATH`.
* **TIN**, **MNIST**, **Places365-val** and the whole test file of SVHN are what OpenOOD scores, by its own lists
  (`utils/data/openood_v15.json`).
* **SVHN** is the first {PER_DIGIT:,} test images of each digit.
* **{drawn.name}**: {drawn.count:,} of the test images, those with the smallest SHA-256 of
  `{SEED}:<name in the archive>`; they are listed in `{listed}`.
  Which ones the authors of CIDER drew was never published, so these stand in tables as
  `{drawn.name} (own draw of {drawn.count:,})` and enter no mean over the official sets. A list that is already
  there when the set is prepared is used instead of a new draw; then, and for a folder from elsewhere, the name is the
  plain one.
* What has no published MD5 is recorded in `{RECORDS}`: SHA-256 of the file and of the images, to compare with others.
"""


def _by_hand() -> str:
    lines = ["## By hand", "", "| what | place | where from |", "|---|---|---|"]
    lines += [f"| {item.name} | `{item.place}` | {item.how} |" for item in BY_HAND]
    return "\n".join(lines) + "\n"
