"""Experiments of many runs, each of which a shell script starts: what is done is skipped, and a table comes last.

    sh scripts/reproduce_cifar10.sh 4 5 6           the papers' tables beside our numbers; also _cifar100, _imgnet100
    sh scripts/ablation.sh w --in-dataset digits    each value of one setting of CIDER
    sh scripts/compare_digits.sh                    CIDER, VOS and MCD on the digits, on the same images
    sh scripts/compare_objectives.sh                CIDER, SupCon, PALM and cross-entropy under one recipe

Numbers are seeds. --dry-run prints the commands, and which data is missing for them; options behind -- go to the train
scripts, as in -- --amp bf16 --channels-last --compile. The same command again goes on where it was interrupted. Runs
have the names that the train scripts give them, so experiments share them, and a run of another machine counts where
its folder lies in checkpoints/<ID set>/.
"""

import argparse
import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils.cli.options import OptionParser, positive_int, whole_number
from utils.cli.record import key_arguments
from utils.cli.settings import usual_settings
from utils.cli.start import start
from utils.data.id_records import ID_NAMES, full_id_name
from utils.data.ood_table import full_ood_name
from utils.errors import run_script
from utils.evaluation.benchmark import BENCHMARKS
from utils.evaluation.grid import Grid, as_text
from utils.files import require_place
from utils.results import differences, published, rows
from utils.results.aggregate import aggregate
from utils.results.plan import Step, carry_out, make_step, parse_training
from utils.results.rows import Row
from utils.results.tables import EMBEDDING, by_experiment, by_method, metrics_apart

# Line of the papers' tables -> train script, its options, and the scores of what it trains.
METHODS = {
    "cider": ("train_cider", (), ("knn",)),
    "supcon": ("train_cider", ("--loss", "supcon"), ("knn", "ssd")),
    "ce": ("train_cider", ("--loss", "ce"), ("msp", "odin", "energy", "maha", "vim")),
    "vos": ("train_vos", (), ("energy",)),
}
# The tables of CIFAR-100 have every method on a ResNet-34; VOS's own paper, which has CIFAR-10, a WRN-40-2.
OPTIONS_ON = {("vos", "CIFAR-100"): ("--model", "resnet34")}


def reproduce_options(parser: OptionParser) -> None:
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=["cider", "supcon", "ce"])


def reproduce_steps(args: argparse.Namespace) -> list[Step]:
    """All runs; those of one seed together, so that a first table is there early."""
    steps = []
    for seed, name in itertools.product(args.seeds, args.methods):
        script, options, scores = METHODS[name]
        own = [*options, *OPTIONS_ON.get((name, args.in_dataset), ()), "--seed", str(seed)]
        papers = ["--in-dataset", args.in_dataset, *own]
        step = make_step(args, f"{name} on {args.in_dataset}, seed {seed}", script, papers, scores)
        full = key_arguments(parse_training(script, papers)) == key_arguments(step.args)
        steps.append(replace(step, experiment=rows.PAPER if full else ""))
    return steps


def beside_published(args: argparse.Namespace, steps: Sequence[Step], found: Sequence[Row]) -> list[Grid]:
    """Our numbers beside the published ones; rows of full runs, with the papers' settings, are gathered anyway."""
    if not args.csv:
        if full := [row for row in found if row.experiment]:
            rows.gather(full)
        else:
            print("\nNot gathered, for these are not the papers' settings; --csv FILE does it all the same")
    lines = published.on(published.lines(), args.in_dataset)
    theirs = by_method(lines)
    return [by_method(aggregate(found), lines), replace(theirs, heading=f"published: {theirs.heading}")]


# Name -> what it is, the option that takes a value, and its grid, a choice of this repository around the paper's value.
# Without such an option: value -> the options for it.
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


def ablation_options(parser: OptionParser) -> None:
    listed = "\n".join(f"    {name:<22}{about}: {', '.join(grid)}" for name, (about, _, grid) in ABLATIONS.items())
    parser.description += f"\nablations:\n{listed}"
    parser.add_argument("ablation", choices=ABLATIONS, metavar="NAME", help="one of the above")
    parser.add_argument("--values", nargs="+", metavar="V", help="in place of the grid")


def ablation_steps(args: argparse.Namespace) -> list[Step]:
    """A step for each value and seed, the values of one seed together, so that an early end can be compared."""
    _, flag, grid = ABLATIONS[args.ablation]
    values = args.values or list(grid)
    if unknown := [value for value in values if not flag and value not in grid]:
        args.error(f"{args.ablation} has the values {', '.join(grid)}, not {unknown[0]}")
    experiment = f"{args.in_dataset}-ablation-{args.ablation}"
    steps = []
    for seed, value in itertools.product(args.seeds, values):
        own = (flag, value) if flag else grid[value]
        options = ["--in-dataset", args.in_dataset, *own, "--seed", str(seed)]
        label = f"{args.ablation} {value}, seed {seed}"
        steps.append(make_step(args, label, "train_cider", options, ["knn"], experiment))
    return steps


def all_values(args: argparse.Namespace, steps: Sequence[Step], found: Sequence[Row]) -> list[Grid]:
    """Below what is varied."""
    first, second = metrics_apart(aggregate(found))
    return [replace(first, heading=f"{args.ablation}: {ABLATIONS[args.ablation][0]}\n{first.heading}"), second]


MIXED, UNSEEN = "digits-6-9", "photographs"  # the OOD set in MCD's mix, and one that no method sees


def digits_options(parser: OptionParser) -> None:
    parser.add_argument(
        "--epochs", type=positive_int, default=30, metavar="N", help="of each method, at least 3 (default: 30)"
    )


def digits_steps(args: argparse.Namespace) -> list[Step]:
    """Two thirds of MCD's epochs are pre-training, which its two modes share, and one third fine-tuning.

    All runs of a seed are scored on the images that the inductive MCD, which comes first, keeps for scoring.
    """
    if args.epochs < 3:
        args.error(f"--epochs {args.epochs}: MCD needs 3, two for its pre-training and one for its fine-tuning")
    tuning = args.epochs // 3
    mcd = ["--pretrain-epochs", str(args.epochs - tuning), "--epochs", str(tuning), "--ood", MIXED, "--unlabelled"]
    methods = {
        "mcd-inductive": ("train_mcd", [*mcd, "inductive"], "discrepancy"),
        "mcd-transductive": ("train_mcd", [*mcd, "transductive"], "discrepancy"),
        "vos": ("train_vos", ["--epochs", str(args.epochs)], "energy"),
        "cider": ("train_cider", ["--epochs", str(args.epochs)], "knn"),
    }
    args.ood_sets = args.ood_sets or [MIXED, UNSEEN]
    found = []
    for seed in args.seeds:
        common = ["--in-dataset", "digits", "--device", "cpu", "--channels-last", "--seed", str(seed)]
        steps = [
            make_step(args, f"{name}, seed {seed}", script, [*common, *options], [score], "compare-digits")
            for name, (script, options, score) in methods.items()
        ]
        scored = {"scored": steps[0].checkpoint.with_name("split.json")}
        for step in steps:
            out = step.out.with_name("eval_compared")
            found.append(replace(step, evaluation=step.evaluation | scored, out=out))
    return found


def three_methods(args: argparse.Namespace, steps: Sequence[Step], found: Sequence[Row]) -> list[Grid]:
    """The last method first."""
    notes = (
        f"{MIXED} is in the unlabelled mix of MCD; no method has seen {UNSEEN}",
        "epochs of MCD: two thirds pre-training, one third fine-tuning",
    )
    grid = by_method(aggregate(found[::-1]), embedding=EMBEDDING[:1])
    return [replace(grid, footer=[*grid.footer, *notes])]


OBJECTIVES = ("cider", "supcon", "palm", "ce")
# Options whose values are CIDER's for all objectives.
SHARED = ("batch_size", "learning_rate", "weight_decay", "cosine", "warmup", "warmup_epochs")


def objectives_options(parser: OptionParser) -> None:
    parser.add_argument("--epochs", type=positive_int, nargs="+", default=[100], metavar="E", help="(default: 100)")
    parser.add_argument("--objectives", nargs="+", choices=OBJECTIVES, default=OBJECTIVES, help="(default: all)")
    parser.add_argument("--model", default="resnet18", help="encoder (default: resnet18)")
    parser.add_argument(
        "--experiment", metavar="NAME", help="by which tables find the rows (default: ID set-objectives)"
    )


def objectives_steps(args: argparse.Namespace) -> list[Step]:
    """All runs, each with an evaluation for each benchmark; those of one seed together, so that pairs are early."""
    steps = []
    experiment = args.experiment or f"{args.in_dataset}-objectives"
    for epochs, seed, loss in itertools.product(args.epochs, args.seeds, args.objectives):
        options = ["--in-dataset", args.in_dataset, "--model", args.model, "--epochs", str(epochs), "--seed", str(seed)]
        options += ["--loss", loss, *recipe(loss, [*options, *args.passed_on])]
        label = f"{loss}, {epochs} epochs, seed {seed}"
        step = make_step(args, label, "train_cider", options, ["knn", "ssd", "maha++"], experiment)
        for number, name in enumerate(("cider", "openood")):
            if BENCHMARKS[name].sets(args.in_dataset):
                how = step.evaluation | {"benchmark": name, "linear_probe": "cached"}
                out = step.out.with_name(f"eval_{epochs}_objectives_{name}")
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


def with_differences(args: argparse.Namespace, steps: Sequence[Step], found: Sequence[Row]) -> list[Grid]:
    """All numbers, and the differences to CIDER, which are gathered beside the rows."""
    from utils.results.paired import paired_differences

    differing = paired_differences([step.metrics for step in steps], steps[0].experiment)
    if args.csv and differing:
        rows.gather(differing, args.csv.with_name("differences.csv"))
    return [*by_experiment(aggregate(found)), *differences.tables(differing)]


@dataclass(frozen=True)
class Experiment:
    """options: adds its own to a parser.    steps: of the arguments.    tables: of all rows, once all is done."""

    options: Callable[[OptionParser], None]
    steps: Callable[[argparse.Namespace], list[Step]]
    tables: Callable[[argparse.Namespace, Sequence[Step], Sequence[Row]], list[Grid]]
    id_names: Sequence[str] = ("CIFAR-10", *(name for name in ID_NAMES if name != "CIFAR-10"))


EXPERIMENTS = {
    "reproduce": Experiment(
        reproduce_options, reproduce_steps, beside_published, id_names=("CIFAR-10", "CIFAR-100", "ImageNet-100")
    ),
    "ablation": Experiment(ablation_options, ablation_steps, all_values),
    "compare_digits": Experiment(digits_options, digits_steps, three_methods, id_names=("digits",)),
    "compare_objectives": Experiment(objectives_options, objectives_steps, with_differences),
}


def parse_arguments() -> tuple[Experiment, argparse.Namespace]:
    """The experiment and its arguments; `passed_on` are those behind `--`, `error` is the parser's."""
    cut = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    what, own = sys.argv[1:2], sys.argv[2:cut]
    if not what or what[0] not in EXPERIMENTS:
        parser = OptionParser(description=__doc__)
        parser.add_argument("experiment", choices=tuple(EXPERIMENTS))
        parser.parse_args(what)
    experiment = EXPERIMENTS[what[0]]
    parser = OptionParser(description=__doc__, prog=f"experiments.py {what[0]}")
    experiment.options(parser)
    about = "default: the ID set's usual one and the next two"
    parser.add_argument("seeds", type=whole_number, nargs="*", default=[], help=about)
    parser.add_argument("--seeds", dest="named", type=whole_number, nargs="+", metavar="S", help="the same")
    parser.add_argument(
        "--in-dataset",
        type=full_id_name,
        choices=experiment.id_names,
        default=experiment.id_names[0],
        help="ID set (default: %(default)s)",
    )
    parser.add_argument(
        "--ood_loc", type=Path, metavar="PATH", help="of the evaluation: folder that holds the OOD sets"
    )
    parser.add_argument(
        "--ood-sets",
        type=full_ood_name,
        nargs="+",
        metavar="SET",
        help="of the evaluation: names, or NAME=PATH (default: the usual ones)",
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="put the rows there, whatever the settings")
    parser.add_argument("--dry-run", action="store_true", help="print what is still to be done, and do nothing")
    args = parser.parse_intermixed_args(own)
    args.passed_on, args.error = sys.argv[cut + 1 :], parser.error
    usual = usual_settings("cider", args.in_dataset)["seed"]
    args.seeds = dict.fromkeys([*args.seeds, *(args.named or ())] or [usual, usual + 1, usual + 2])
    return experiment, args


def main() -> None:
    """Do what is not done, then print the tables of everything."""
    experiment, args = parse_arguments()
    start()
    if args.csv and not args.dry_run:
        require_place(args.csv)
    steps = experiment.steps(args)
    if carry_out(steps, dry_run=args.dry_run):
        found = [row for step in steps for row in rows.from_metrics(step.metrics, step.experiment)]
        if args.csv:
            rows.gather(found, args.csv)
        print("\n" + "\n".join(map(as_text, experiment.tables(args, steps, found))), end="")


if __name__ == "__main__":
    run_script(main)
