"""Train and evaluate what the papers' tables hold, and set the numbers beside the published ones.

    sh scripts/reproduce_cifar10.sh                      CIDER, SupCon and cross-entropy with three seeds
    sh scripts/reproduce_cifar10.sh --dry-run            the commands, and which data is missing for them
    sh scripts/reproduce_cifar100.sh 7 8 --methods cider vos
    sh scripts/reproduce_cifar10.sh 4 -- --amp bf16 --channels-last --compile      options for the train scripts

Scores: CIDER by KNN; SupCon by KNN (KNN+) and SSD (SSD+); cross-entropy by MSP, ODIN, energy, Mahalanobis and ViM; VOS
by energy. What is done is skipped and an interrupted training goes on: give the same command again. The rows of a full
run, with the papers' settings, go into results/measured.csv; those of a run that is cut short only where --csv says so.
"""

import argparse
import itertools
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils.cli.options import OptionParser
from utils.cli.train import key_arguments
from utils.data.id_records import ID_NAMES, full_id_name
from utils.errors import run_script
from utils.evaluation.grid import as_text
from utils.results import published, readme, rows
from utils.results.aggregate import aggregate
from utils.results.plan import Step, gathered, make_step, parse_training, run_plan, usual_seeds
from utils.results.tables import by_method

# Line of the papers' tables -> train script, its options, and the scores of what it trains.
METHODS = {
    "cider": ("train_cider", (), ("knn",)),
    "supcon": ("train_cider", ("--loss", "supcon"), ("knn", "ssd")),
    "ce": ("train_cider", ("--loss", "ce"), ("msp", "odin", "energy", "maha", "vim")),
    "vos": ("train_vos", (), ("energy",)),
}
# The tables of CIFAR-100 have every method on a ResNet-34; VOS's own paper, which has CIFAR-10, a WRN-40-2.
OPTIONS_ON = {("vos", "CIFAR-100"): ("--model", "resnet34")}


def add_options(parser: OptionParser) -> None:
    parser.add_argument("id", type=full_id_name, choices=ID_NAMES, help="ID set; the shell scripts name it")
    parser.add_argument("seeds", type=int, nargs="*", help="default: the official script's, and the next two")
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=["cider", "supcon", "ce"])


def steps_of(args: argparse.Namespace) -> list[Step]:
    """All runs; those of one seed together, so that a first table is there early."""
    steps = []
    for seed, name in itertools.product(dict.fromkeys(args.seeds or usual_seeds(args.id)), args.methods):
        script, options, scores = METHODS[name]
        papers = ["--in-dataset", args.id, *options, *OPTIONS_ON.get((name, args.id), ()), "--seed", str(seed)]
        step = make_step(args, f"{name} on {args.id}, seed {seed}", script, papers, scores)
        full = key_arguments(parse_training(script, papers)) == key_arguments(step.args)
        steps.append(replace(step, experiment=readme.PAPER if full else ""))
    return steps


def show(args: argparse.Namespace, steps: Sequence[Step]) -> None:
    """Gather the rows where they belong, and print our numbers beside the published ones."""
    found = gathered(steps, args.csv)
    full = [row for row in found if row.experiment]
    if full and not args.csv:
        rows.gather(full)
    elif not full and not args.csv:
        print("\nNot gathered, for these are not the papers' settings; --csv FILE does it all the same")
    lines = readme.published_lines(published.lines(), args.id)
    print(f"\n{as_text(by_method(aggregate(found), lines))}\npublished:\n{as_text(by_method(lines))}")


if __name__ == "__main__":
    run_script(partial(run_plan, __doc__, add_options, steps_of, show))
