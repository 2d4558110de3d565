"""Ablations of CIDER: train each value of one setting with several seeds, evaluate, and show all in one table.

    python scripts/ablation.py w --in-dataset digits
    python scripts/ablation.py alpha --seeds 4 5 6 -- --amp bf16 --channels-last      options behind -- are for training
    python scripts/ablation.py temperature --values 0.1 0.5 --dry-run

Runs have the names that train_cider.py gives them, so the paper's own setting is trained once for all ablations, and
the same command again skips what is done. The grids are a choice of this repository, around the paper's values.
"""

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils.cli.options import OptionParser
from utils.cli.settings import cider_settings
from utils.cli.start import start
from utils.data.id_records import ID_NAMES, full_id_name
from utils.errors import run_script
from utils.results.plan import Step, add_options, carry_out, make_step, refuse, split_options

# Name -> what it is, the option that takes a value, and its grid. Without such an option: value -> the options for it.
ABLATIONS = {
    "w": ("weight of the compactness loss", "--w", ("0.5", "1", "2", "4")),
    "temperature": ("temperature of both losses", "--temp", ("0.05", "0.1", "0.2", "0.5")),
    "alpha": ("what a sample leaves of its prototype", "--proto_m", ("0", "0.5", "0.9", "0.95", "0.99")),
    "head-dimension": ("dimension of the embedding", "--feat_dim", ("16", "64", "128", "512")),
    "no-dispersion": ("loss with and without the dispersion term", "", {"with": (), "without": ("--no-dispersion",)}),
    "learnable-prototypes": ("moving average or parameters", "--prototypes", ("ema", "learnable")),
    "warmup": (
        "warm-up, or the official code's with its negative rates in the first epoch",
        "--warmup",
        ("linear", "reference"),
    ),
    "prototype-init": ("where prototypes start", "--prototype-init", ("class-means", "simplex")),
}
# What a step of the plan sets by itself, so that it cannot be an option of the user's.
TAKEN = ("--in-dataset", "--seed", "--name", "--loss", "--resume", "--trial")


def parse_arguments() -> tuple[argparse.Namespace, list[str]]:
    """Options of this script, and those behind `--`, which are for train_cider.py."""
    listed = "\n".join(f"    {name:<22}{about}: {', '.join(grid)}" for name, (about, _, grid) in ABLATIONS.items())
    own, passed_on = split_options(sys.argv[1:])
    parser = OptionParser(description=f"{__doc__}\nablations:\n{listed}")
    parser.add_argument("ablation", choices=ABLATIONS, metavar="NAME", help="one of the above")
    parser.add_argument(
        "--in-dataset", type=full_id_name, choices=ID_NAMES, default="CIFAR-10", help="ID set (default: CIFAR-10)"
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", metavar="S", help="(default: the ID set's usual one and the next two)"
    )
    parser.add_argument("--values", nargs="+", metavar="V", help="in place of the grid")
    add_options(parser)
    parser.add_argument(
        "--csv", type=Path, metavar="FILE", help="put the rows there, too; those of results/ are in measured.csv"
    )
    args = parser.parse_args(own)
    _, flag, grid = ABLATIONS[args.ablation]
    refuse(parser, passed_on, [*TAKEN, *([flag] if flag else itertools.chain(*grid.values()))])
    args.values = args.values or list(grid)
    unknown = [value for value in args.values if not flag and value not in grid]
    if unknown:
        parser.error(f"{args.ablation} has the values {', '.join(grid)}, not {unknown[0]}")
    usual = cider_settings(args.in_dataset, "cider")["seed"]
    args.seeds = args.seeds or [usual, usual + 1, usual + 2]
    return args, passed_on


def plan(args: argparse.Namespace, passed_on: Sequence[str]) -> list[Step]:
    """A step for each value and seed, the values of one seed together, so that an early end can be compared."""
    _, flag, grid = ABLATIONS[args.ablation]
    steps = []
    for seed, value in itertools.product(args.seeds, args.values):
        options = ["--in-dataset", args.in_dataset, *passed_on, *((flag, value) if flag else grid[value])]
        options += ["--seed", str(seed)]
        label = f"{args.ablation} {value}, seed {seed}"
        steps.append(make_step(label, "train_cider", options, ["knn"], ood_sets=args.ood_sets, ood_loc=args.ood_loc))
    return steps


def show(args: argparse.Namespace, steps: Sequence[Step]) -> None:
    """Print the table of all values, and gather the rows where that was asked for."""
    from utils.evaluation.grid import as_text
    from utils.results import readme, rows
    from utils.results.aggregate import aggregate

    experiment = f"{args.in_dataset.lower().replace('-', '')}-ablation-{args.ablation}"
    found = [row for step in steps for row in rows.from_metrics(step.metrics, experiment)]
    if args.csv is not None:
        rows.gather(found, args.csv)
    print(f"\n{args.ablation}: {ABLATIONS[args.ablation][0]}")
    print("\n".join(map(as_text, readme.metrics_apart(aggregate(found)))))


def main() -> None:
    """Train and evaluate what is missing, then show everything."""
    args, passed_on = parse_arguments()
    start()
    steps = plan(args, passed_on)
    if carry_out(steps, dry_run=args.dry_run):
        show(args, steps)


if __name__ == "__main__":
    run_script(main)
