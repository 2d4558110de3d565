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
import importlib
import itertools
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils.cli.options import OptionParser
from utils.cli.start import start
from utils.data.id_records import full_id_name
from utils.errors import UserError, run_script
from utils.results.plan import Step, add_options, carry_out, make_step, refuse, split_options

# Line of the papers' tables -> train script, its options, and the scores of what it trains.
METHODS = {
    "cider": ("train_cider", (), ("knn",)),
    "supcon": ("train_cider", ("--loss", "supcon"), ("knn", "ssd")),
    "ce": ("train_cider", ("--loss", "ce"), ("msp", "odin", "energy", "maha", "vim")),
    "vos": ("train_vos", (), ("energy",)),
}
# The tables of CIFAR-100 have every method on a ResNet-34; VOS's own paper, which has CIFAR-10, a WRN-40-2.
OPTIONS_ON = {("vos", "CIFAR-100"): ("--model", "resnet34")}
# ID set -> shell script and usual seeds, of which the first is the official script's.
ID_SETS = {
    "CIFAR-10": ("reproduce_cifar10.sh", (4, 5, 6)),
    "CIFAR-100": ("reproduce_cifar100.sh", (7, 8, 9)),
    "ImageNet-100": ("reproduce_imgnet100.sh", (4, 5, 6)),
}
# What the plan itself sets, or what would be the same for all runs.
FIXED = ("--in-dataset", "--loss", "--seed", "--trial", "--name", "--resume")


def parse_arguments(command_line: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Options of this script, and those behind `--`, which are for the train scripts."""
    own, passed_on = split_options(command_line)
    parser = OptionParser(description=__doc__)
    parser.add_argument("id", type=full_id_name, choices=tuple(ID_SETS), help="ID set; the shell scripts name it")
    parser.add_argument(
        "seeds", type=int, nargs="*", help="default: those in the environment variable SEEDS, else three seeds"
    )
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=["cider", "supcon", "ce"])
    add_options(parser)
    parser.add_argument(
        "--csv",
        type=Path,
        help="gather the rows there, whatever the settings (default: results/measured.csv, and full runs only)",
    )
    args = parser.parse_intermixed_args(own)
    try:
        args.seeds = args.seeds or [int(seed) for seed in os.environ.get("SEEDS", "").split()] or ID_SETS[args.id][1]
    except ValueError:
        parser.error(f"SEEDS={os.environ['SEEDS']} is not a list of whole numbers")
    refuse(parser, passed_on, FIXED)
    return args, passed_on


def plan(args: argparse.Namespace, passed_on: Sequence[str]) -> list[tuple[Step, bool]]:
    """All runs, and whether each is the paper's; those of one seed together, so that a first table is there early.

    Ends the script with status 2 where the train scripts do not take the options that are passed on.
    """
    from utils.cli.train import key_arguments

    runs = []
    for seed, name in itertools.product(dict.fromkeys(args.seeds), args.methods):
        script, options, scores = METHODS[name]
        usual = ["--in-dataset", args.id, *options, *OPTIONS_ON.get((name, args.id), ()), "--seed", str(seed)]
        label = f"{name} on {args.id}, seed {seed}"
        given = [*usual, *passed_on]
        step = make_step(label, script, given, scores, ood_sets=args.ood_sets, ood_loc=args.ood_loc)
        of_script = importlib.import_module(f"utils.cli.{script.removeprefix('train_')}")
        papers = of_script.parse_arguments(command_line=usual)
        runs.append((step, key_arguments(papers) == key_arguments(step.args)))
    return runs


def finish(args: argparse.Namespace, runs: Sequence[tuple[Step, bool]]) -> None:
    """Gather the rows where they belong, and print our numbers beside the published ones."""
    from utils.evaluation.grid import as_text
    from utils.results import published, readme, rows
    from utils.results.aggregate import aggregate
    from utils.results.tables import by_method

    found = [(rows.from_metrics(step.metrics, readme.PAPER if full else ""), full) for step, full in runs]
    kept = [row for new, full in found if full or args.csv for row in new]
    if kept:
        rows.gather(kept, args.csv or rows.MEASURED)
    else:
        print("\nNot gathered, for these are not the papers' settings; --csv FILE does it all the same")
    lines = readme.published_lines(published.groups(published.read()), args.id)
    groups = aggregate(row for new, _ in found for row in new)
    print(f"\n{as_text(by_method(groups, lines))}\npublished:\n{as_text(by_method(lines))}")


def main() -> None:
    """Plan, carry out, and end in the table."""
    args, passed_on = parse_arguments(sys.argv[1:])
    start()
    runs = plan(args, passed_on)
    again = shlex.join(["sh", f"scripts/{ID_SETS[args.id][0]}", *sys.argv[2:]])
    if os.environ.get("SEEDS"):
        again = f"SEEDS={shlex.quote(os.environ['SEEDS'])} {again}"
    try:
        if carry_out([step for step, _ in runs], dry_run=args.dry_run):
            finish(args, runs)
    except UserError as error:
        raise UserError(f"{error}\n  go on with : {again}") from error
    except KeyboardInterrupt:
        print(f"\ninterrupted; go on with: {again}", file=sys.stderr)
        raise


if __name__ == "__main__":
    run_script(main)
