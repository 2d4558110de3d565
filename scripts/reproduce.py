"""Train and evaluate what the papers' tables hold, and set the numbers beside the published ones.

    sh scripts/reproduce_cifar10.sh                      CIDER, SupCon and cross-entropy with three seeds
    sh scripts/reproduce_cifar10.sh --dry-run            the commands and how long they will take
    sh scripts/reproduce_cifar100.sh 7 8 --methods cider vos
    sh scripts/reproduce_cifar10.sh 4 -- --amp bf16 --channels-last --compile      options for the train scripts

Scores: CIDER by KNN; SupCon by KNN (KNN+) and SSD (SSD+); cross-entropy by MSP, ODIN, energy, Mahalanobis and ViM; VOS
by energy. What is done is skipped and an interrupted training goes on: give the same command again. The rows of a full
run, with the papers' settings, go into results/measured.csv; those of a run that is cut short only where --csv says so.
"""

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

import train_cider
import train_vos
from benchmarks import estimate
from benchmarks.run import file_name
from utils.cli import options
from utils.cli.settings import cider_settings, vos_settings
from utils.cli.train import key_arguments
from utils.data.id_records import full_id_name, id_set
from utils.data.ood_sets import sets_there
from utils.data.ood_table import full_ood_name
from utils.errors import UserError, run_script
from utils.evaluation.grid import as_text
from utils.results import published, readme, rows
from utils.results.aggregate import aggregate
from utils.results.plan import Step, carry_out
from utils.results.tables import by_method


@dataclass(frozen=True)
class Method:
    """A line, or several, of the papers' tables: a train script with its options, and the scores of what it trains.

    views: of each image in a step.    forward: the pass of the network that is trained.
    """

    script: Any
    options: tuple[str, ...]
    scores: tuple[str, ...]
    settings: Callable[[str], dict[str, Any]]
    views: int = 2
    forward: str = "forward"


METHODS = {
    "cider": Method(train_cider, (), ("knn",), partial(cider_settings, loss="cider")),
    "supcon": Method(train_cider, ("--loss", "supcon"), ("knn", "ssd"), partial(cider_settings, loss="supcon")),
    "ce": Method(
        train_cider,
        ("--loss", "ce"),
        ("msp", "odin", "energy", "maha", "vim"),
        partial(cider_settings, loss="ce"),
        views=1,
        forward="logits",
    ),
    "vos": Method(train_vos, (), ("energy",), partial(vos_settings, model=None), views=1, forward="features"),
}
# The tables of CIFAR-100 have every method on a ResNet-34; VOS's own paper, which has CIFAR-10, a WRN-40-2.
OPTIONS_ON = {("vos", "CIFAR-100"): ("--model", "resnet34")}
SCRIPTS = {
    "CIFAR-10": "reproduce_cifar10.sh",
    "CIFAR-100": "reproduce_cifar100.sh",
    "ImageNet-100": "reproduce_imgnet100.sh",
}
SEEDS = {"CIFAR-10": (4, 5, 6), "CIFAR-100": (7, 8, 9), "ImageNet-100": (4, 5, 6)}  # the first is the official script's
# What the plan itself sets, or what would be the same for all runs.
FIXED = ("--in-dataset", "--loss", "--seed", "--trial", "--name", "--resume")


@dataclass(frozen=True)
class Run:
    """One method with one seed: the step of the plan, the arguments of its training, whether it is the paper's run."""

    step: Step
    method: Method
    args: argparse.Namespace
    full: bool


def parse_arguments(command_line: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Options of this script, and those behind `--`, which are for the train scripts."""
    command_line = list(command_line)
    cut = command_line.index("--") if "--" in command_line else len(command_line)
    parser = options.OptionParser(description=__doc__)
    parser.add_argument("id", type=full_id_name, choices=tuple(SCRIPTS), help="ID set; the shell scripts name it")
    parser.add_argument(
        "seeds", type=int, nargs="*", help="default: those in the environment variable SEEDS, else three seeds"
    )
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=["cider", "supcon", "ce"])
    parser.add_argument("--dry-run", action="store_true", help="print the commands and the estimated time, do nothing")
    parser.add_argument("--ood_loc", type=Path, metavar="PATH", help="folder that holds the OOD sets")
    parser.add_argument(
        "--ood-sets",
        type=full_ood_name,
        nargs="+",
        metavar="SET",
        help="names, or NAME=PATH (default: the sets of the papers' tables)",
    )
    parser.add_argument(
        "--csv",
        type=Path,
        help="gather the rows there, whatever the settings (default: results/measured.csv, and full runs only)",
    )
    args = parser.parse_intermixed_args(command_line[:cut])
    try:
        args.seeds = args.seeds or [int(seed) for seed in os.environ.get("SEEDS", "").split()] or SEEDS[args.id]
    except ValueError:
        parser.error(f"SEEDS={os.environ['SEEDS']} is not a list of whole numbers")
    passed_on = command_line[cut + 1 :]
    for option in passed_on:
        if option.partition("=")[0].replace("_", "-") in FIXED:
            parser.error(f"{option} behind -- is set for each run by itself; seeds and --methods stand before it")
    return args, passed_on


def plan(args: argparse.Namespace, passed_on: Sequence[str]) -> list[Run]:
    """All runs, those of one seed together, so that a table of one run each is there as early as can be.

    Ends the script with status 2 where the train scripts do not take the options that are passed on.
    """
    return [plan_run(args, name, seed, passed_on) for seed in dict.fromkeys(args.seeds) for name in args.methods]


def plan_run(args: argparse.Namespace, name: str, seed: int, passed_on: Sequence[str]) -> Run:
    """One method with one seed."""
    method = METHODS[name]
    usual = ["--in-dataset", args.id, *method.options, *OPTIONS_ON.get((name, args.id), ()), "--seed", str(seed)]
    given = [*usual, *passed_on]
    given += short_warmup(given, method.settings(args.id))
    trained, device = method.script.parse_arguments(given)
    run_folder = trained.checkpoints / trained.in_dataset / trained.name
    evaluate = ["--score", *method.scores, "--no-plots", "--device", str(device)]
    if args.ood_loc:
        evaluate += ["--ood-loc", str(args.ood_loc)]
    if args.ood_sets:
        evaluate += ["--ood-sets", *args.ood_sets]
    step = Step(
        label=f"{name} on {args.id}, seed {seed}",
        train=[f"{method.script.__name__}.py", *given],
        checkpoint=run_folder / f"checkpoint_{trained.epochs}.pth.tar",
        evaluate=evaluate,
        out=run_folder / f"eval_{trained.epochs}",
        settings={
            "score": list(method.scores),
            "ood_sets": args.ood_sets,
            "ood_loc": args.ood_loc and str(args.ood_loc),
        },
        there=frozenset() if args.ood_sets else sets_there(args.id, args.ood_loc),
    )
    as_in_the_paper = key_arguments(method.script.parse_arguments(usual)[0]) == key_arguments(trained)
    return Run(step, method, trained, as_in_the_paper)


def short_warmup(given: Sequence[str], settings: dict[str, Any]) -> list[str]:
    """Options that leave the warm-up out of a training that would end within it, unless the warm-up is given."""
    if any(option.startswith("--warm") for option in given) or "--epochs" not in given[:-1]:
        return []
    epochs = given[len(given) - 1 - given[::-1].index("--epochs") + 1]
    too_short = epochs.isdigit() and int(epochs) < settings["warmup_epochs"] and settings["warmup"] != "none"
    return ["--warmup", "none"] if too_short else []


def estimated(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """The runs with the estimated time of what is left in their labels, and lines that say what it rests on."""
    device = runs[0].args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    used = [runs[0].args.amp, *(["channels_last"] if runs[0].args.channels_last else [])]
    used += ["--compile"] if runs[0].args.compile else []
    try:
        benchmark = estimate.last_benchmark(file_name(torch.device(device)), used)
    except UserError as error:
        return list(runs), [f"no estimate of the time: {error}"]
    labelled, total = [], 0.0
    for run in runs:
        seconds = 0.0 if run.step.is_trained() else training_seconds(run, benchmark)
        total += seconds
        label = run.step.label if run.step.is_trained() else f"{run.step.label}, {estimate.in_words(seconds)}"
        labelled.append(replace(run, step=replace(run.step, label=label)))
    return labelled, [
        f"all that is left to train: {estimate.in_words(total)}",
        f"an estimate, from {benchmark.source}",
        "scaled by images, epochs and the operations of the network; narrow ones take longer; evaluations come on top",
    ]


def training_seconds(run: Run, benchmark: estimate.Benchmark) -> float:
    """Estimated time of one whole training."""
    args, record = run.args, id_set(run.args.in_dataset)
    images = record.train_images or 1_300 * record.classes  # ImageNet has at most so many of a class
    images = min(args.limit_train or images, images)
    bare = argparse.Namespace(**{**vars(args), "pretrained": False, "weights": None})  # shapes are enough
    flop = estimate.flop_of_view(
        lambda: run.method.script.build_model(bare, record.classes),
        args.image_size or record.size,
        run.method.forward,
    )
    return benchmark.seconds(run.method.views * images * args.epochs, flop)


def finish(args: argparse.Namespace, runs: Sequence[Run]) -> None:
    """Gather the rows where they belong, and print our numbers beside the published ones."""
    found, kept = [], []
    for run in runs:
        new = rows.from_metrics(run.step.metrics, readme.PAPER if run.full else "")
        found += new
        kept += new if run.full or args.csv else []
    if kept:
        path = args.csv or rows.MEASURED
        rows.write(rows.merge(rows.read(path), kept), path)
        print(f"\n{path}: {len(kept)} rows gathered")
    else:
        print("\nNot gathered, for these are not the papers' settings; --csv FILE does it all the same")
    lines = readme.published_lines(published.groups(published.read()), args.id, published.CIDER)
    print(f"\n{as_text(by_method(aggregate(found), lines))}\npublished:\n{as_text(by_method(lines))}")


def main() -> None:
    """Plan, carry out, and end in the table."""
    args, passed_on = parse_arguments(sys.argv[1:])
    runs, notes = estimated(plan(args, passed_on))
    again = shlex.join(["sh", f"scripts/{SCRIPTS[args.id]}", *sys.argv[2:]])
    if os.environ.get("SEEDS"):
        again = f"SEEDS={shlex.quote(os.environ['SEEDS'])} {again}"
    if args.dry_run:
        carry_out([run.step for run in runs], dry_run=True)
    print("\n".join(notes), flush=True)
    if args.dry_run:
        return
    try:
        carry_out([run.step for run in runs], dry_run=False)
    except UserError as error:
        raise UserError(f"{error}\n  go on with : {again}") from error
    except KeyboardInterrupt:
        print(f"\ninterrupted; go on with: {again}", file=sys.stderr)
        raise
    finish(args, runs)


if __name__ == "__main__":
    run_script(main)
