"""Gather evaluations into results/measured.csv, and print our tables beside the published numbers.

    python scripts/collect_results.py                                      the tables of everything that is gathered
    python scripts/collect_results.py checkpoints/CIFAR-10/NAME --experiment mine    gather a run folder first
    python scripts/collect_results.py --id CIFAR-100 --format latex
    python scripts/collect_results.py --readme             make the tables of README.md, docs/ and results/ anew

One row per checkpoint, benchmark, OOD set and score; the same again replaces its row. Runs that differ in their seed
alone become mean and standard deviation; runs with other settings, images or benchmarks are never averaged.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils.cli.options import OptionParser, place
from utils.data.id_records import full_id_name
from utils.errors import UserError, run_script
from utils.evaluation.benchmark import BENCHMARKS
from utils.evaluation.grid import Grid, as_latex, as_markdown, as_text
from utils.results import published, readme, rows
from utils.results.aggregate import aggregate
from utils.results.tables import by_experiment, by_method

FORMATS = {"text": as_text, "markdown": as_markdown, "latex": as_latex}


def metrics_files(place: Path) -> list[Path]:
    """Every metrics.json that a place is or holds.

    Raises:
        UserError: a place without one.
    """
    found = [place] if place.is_file() else sorted(place.rglob("metrics.json"))
    if not found:
        raise UserError(
            f"no evaluation found.\n  looked for : {place}{'/**/metrics.json' if place.is_dir() else ''}\n"
            "  get it by  : eval_cider.py, which leaves it in eval_<epoch>/ of the run folder"
        )
    return found


def print_tables(found: Sequence[rows.Row], id_names: Sequence[str], show: Callable[[Grid], str]) -> None:
    """For each ID set tables per experiment and benchmark, and the published lines of each benchmark."""
    lines = published.lines()
    for id_name in id_names:
        tagged: dict[str, list[rows.Row]] = {}
        for row in found:
            if row.id == id_name:
                for name in row.experiment.split() or ["no experiment named"]:
                    tagged.setdefault(name, []).append(row)
        for name, its in tagged.items():
            for grid in by_experiment(aggregate(its), lines):
                print(f"{name}:\n{show(grid)}")
        for benchmark in BENCHMARKS:
            if its := published.on(lines, id_name, benchmark):
                print(f"published:\n{show(by_method(its))}")


def parse_arguments() -> argparse.Namespace:
    parser = OptionParser(description=__doc__)
    parser.add_argument(
        "places", type=place, nargs="*", metavar="PLACE", help="run folders or metrics.json files to gather"
    )
    parser.add_argument("--csv", type=place, default=rows.MEASURED, help="default: results/measured.csv")
    parser.add_argument("--id", type=full_id_name, metavar="NAME", help="tables of this ID set alone")
    parser.add_argument(
        "--experiment",
        default="",
        metavar="NAME",
        help="what the gathered rows belong to: a table of its own, which the pages can show; without places, "
        "the tables of this experiment alone",
    )
    parser.add_argument("--format", choices=tuple(FORMATS), default="text", help="default: text")
    parser.add_argument("--readme", action="store_true", help="make the tables of the pages anew")
    args = parser.parse_args()
    if args.readme and args.csv != rows.MEASURED:
        parser.error("the pages show results/measured.csv; --readme does not go with another --csv")
    return args


def main() -> None:
    """Gather, print, and write the pages, as asked for."""
    args = parse_arguments()
    files = [file for place in args.places for file in metrics_files(place)]
    new = [row for file in files for row in rows.from_metrics(file, args.experiment)]
    if new:
        rows.gather(new, args.csv)
    gathered = rows.read(args.csv)
    found = [row for row in gathered if not args.experiment or args.experiment in row.experiment.split()]
    if not found and (args.experiment or not args.id):
        wanted = f" of an experiment {args.experiment}" if args.experiment else ""
        names = dict.fromkeys(name for row in gathered for name in row.experiment.split())
        raise UserError(f"there are no rows{wanted} in {args.csv}\n  there are  : {', '.join(names) or 'none at all'}")
    known = list(dict.fromkeys(row.id for row in new or found))
    if args.id and args.id not in [*(row.id for row in found), *(line.facts["id"] for line in published.lines())]:
        raise UserError(f"there is nothing on {args.id}\n  there are  : {', '.join(known) or 'no rows at all'}")
    print_tables(found, [args.id] if args.id else known, FORMATS[args.format])
    if args.readme:
        for page, changed in readme.fill_pages().items():
            print(f"{page}: {'tables made anew' if changed else 'unchanged'}")


if __name__ == "__main__":
    run_script(main)
