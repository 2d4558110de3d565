"""Compare the objectives of train_cider.py under one recipe: CIDER, SupCon, PALM, cross-entropy; differences to CIDER.

    python scripts/compare_objectives.py                             CIFAR-10, 100 epochs, three seeds: for a GPU
    python scripts/compare_objectives.py 4 5 --epochs 100 200 500 --objectives cider supcon
    python scripts/compare_objectives.py --in-dataset digits --epochs 10 -- --width 8      behind --: for train_cider.py

Network, epochs, batch size, learning rate, schedule and weight decay are CIDER's for all. An objective keeps what is
its own: its weights, its prototypes, and cross-entropy the augmentation of classifiers, one view an image. PALM's
prototypes move as OpenOOD has it for such a batch. Scores: KNN, SSD, Mahalanobis++, on the OOD sets of CIDER's paper
and on OpenOOD's where there are any. A run of another machine counts where its folder lies in checkpoints/<ID set>/.
"""

import argparse
import itertools
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils.cli.options import OptionParser, positive_int
from utils.data.id_records import ID_NAMES, full_id_name
from utils.errors import run_script
from utils.evaluation.benchmark import BENCHMARKS
from utils.evaluation.grid import as_text
from utils.results import readme, rows
from utils.results.aggregate import aggregate
from utils.results.differences import tables
from utils.results.plan import Step, gathered, make_step, parse_training, run_plan, usual_seeds

OBJECTIVES = ("cider", "supcon", "palm", "ce")
SCORES = ("knn", "ssd", "maha++")
# Options whose values are CIDER's for all objectives.
SHARED = ("batch_size", "learning_rate", "weight_decay", "cosine", "warmup", "warmup_epochs")


def add_options(parser: OptionParser) -> None:
    parser.add_argument("seeds", type=int, nargs="*", help="default: the official script's, and the next two")
    parser.add_argument(
        "--in-dataset", type=full_id_name, choices=ID_NAMES, default="CIFAR-10", help="ID set (default: CIFAR-10)"
    )
    parser.add_argument("--epochs", type=positive_int, nargs="+", default=[100], metavar="E", help="(default: 100)")
    parser.add_argument("--objectives", nargs="+", choices=OBJECTIVES, default=OBJECTIVES, help="(default: all)")
    parser.add_argument("--model", default="resnet18", help="encoder (default: resnet18)")
    parser.add_argument(
        "--experiment", metavar="NAME", help="name by which tables find the rows (default: ID set-objectives)"
    )


def steps_of(args: argparse.Namespace) -> list[Step]:
    """All runs, each with an evaluation for each benchmark; those of one seed together, so that pairs are early."""
    steps = []
    benchmarks = [name for name in ("cider", "openood") if BENCHMARKS[name].sets(args.in_dataset)]
    experiment = args.experiment or f"{args.in_dataset}-objectives"
    seeds = dict.fromkeys(args.seeds or usual_seeds(args.in_dataset))
    for epochs, seed, loss in itertools.product(args.epochs, seeds, args.objectives):
        options = ["--in-dataset", args.in_dataset, "--model", args.model, "--epochs", str(epochs), "--seed", str(seed)]
        options += ["--loss", loss, *recipe(loss, [*options, *args.passed_on])]
        step = make_step(args, f"{loss}, {epochs} epochs, seed {seed}", "train_cider", options, SCORES, experiment)
        for number, name in enumerate(benchmarks):
            how = step.evaluation | {"benchmark": name, "linear_probe": "cached"}
            out = step.out.with_name(f"{step.out.name}_objectives_{name}")
            steps.append(replace(step, train=() if number else step.train, evaluation=how, out=out))
    return steps


def recipe(loss: str, options: Sequence[str]) -> list[str]:
    """Options that make a training with another objective as CIDER's is, where it would be another one by itself."""
    ciders, own = (vars(parse_training("train_cider", [*options, "--loss", name])) for name in ("cider", loss))
    found = []
    for name in SHARED:
        if own[name] != ciders[name]:
            flag = f"--{name.replace('_', '-')}"
            found += [flag] if ciders[name] is True else [flag, str(ciders[name])]
    # OpenOOD's PALM: 0.9 with batches of 16, 0.999 with 512.
    return [*found, "--proto_m", "0.999"] if loss == "palm" and ciders["batch_size"] >= 512 else found


def show(args: argparse.Namespace, steps: Sequence[Step]) -> None:
    """Print all numbers and the differences, and gather both where that was asked for."""
    from utils.results.paired import differences

    groups = aggregate(gathered(steps, args.csv))
    found = differences([step.metrics for step in steps], steps[0].experiment)
    if args.csv and found:
        rows.gather(found, args.csv.with_name("differences.csv"))
    print("\n" + "\n".join(map(as_text, [*readme.by_experiment(groups), *tables(found)])))


if __name__ == "__main__":
    run_script(partial(run_plan, __doc__, add_options, steps_of, show))
