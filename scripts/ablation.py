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
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils.cli.options import OptionParser
from utils.data.id_records import ID_NAMES, full_id_name
from utils.errors import run_script
from utils.evaluation.grid import as_text
from utils.results import readme
from utils.results.aggregate import aggregate
from utils.results.plan import Step, gathered, make_step, run_plan, usual_seeds

# Name -> what it is, and value -> the options for it.
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
LISTED = "\n".join(f"    {name:<22}{about}: {', '.join(grid)}" for name, (about, _, grid) in ABLATIONS.items())


def add_options(parser: OptionParser) -> None:
    parser.add_argument("ablation", choices=ABLATIONS, metavar="NAME", help="one of the above")
    parser.add_argument(
        "--in-dataset", type=full_id_name, choices=ID_NAMES, default="CIFAR-10", help="ID set (default: CIFAR-10)"
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", metavar="S", help="(default: the ID set's usual one and the next two)"
    )
    parser.add_argument("--values", nargs="+", metavar="V", help="in place of the grid")


def steps_of(args: argparse.Namespace) -> list[Step]:
    """A step for each value and seed, the values of one seed together, so that an early end can be compared."""
    _, flag, grid = ABLATIONS[args.ablation]
    values = args.values or list(grid)
    if unknown := [value for value in values if not flag and value not in grid]:
        args.error(f"{args.ablation} has the values {', '.join(grid)}, not {unknown[0]}")
    return [
        make_step(
            args,
            f"{args.ablation} {value}, seed {seed}",
            "train_cider",
            ["--in-dataset", args.in_dataset, *((flag, value) if flag else grid[value]), "--seed", str(seed)],
            ["knn"],
            experiment=f"{args.in_dataset}-ablation-{args.ablation}",
        )
        for seed, value in itertools.product(args.seeds or usual_seeds(args.in_dataset), values)
    ]


def show(args: argparse.Namespace, steps: Sequence[Step]) -> None:
    """Print the table of all values, and gather the rows where that was asked for."""
    groups = aggregate(gathered(steps, args.csv))
    print(f"\n{args.ablation}: {ABLATIONS[args.ablation][0]}")
    print("\n".join(map(as_text, readme.metrics_apart(groups))))


if __name__ == "__main__":
    run_script(partial(run_plan, f"{__doc__}\nablations:\n{LISTED}", add_options, steps_of, show))
