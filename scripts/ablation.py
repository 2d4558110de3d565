"""Ablations of CIDER: train each value of one setting with several seeds, evaluate, and show all in one table.

    python scripts/ablation.py w --in-dataset digits
    python scripts/ablation.py alpha --seeds 4 5 6 -- --amp bf16 --channels-last      options behind -- are for training
    python scripts/ablation.py temperature --values 0.1 0.5 --dry-run

Runs have the names that train_cider.py gives them, so the paper's own setting is trained once for all ablations, and
the same command again skips what is done. The grids are a choice of this repository, around the paper's values.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import train_cider
from utils.cli.options import OptionParser
from utils.cli.settings import cider_settings
from utils.data.id_records import ID_NAMES, full_id_name
from utils.data.ood_sets import sets_there
from utils.data.ood_table import full_ood_name
from utils.errors import run_script
from utils.evaluation.grid import as_text
from utils.results import rows
from utils.results.aggregate import aggregate
from utils.results.plan import Step, carry_out
from utils.results.tables import by_method


@dataclass(frozen=True)
class Ablation:
    """One setting.

    Attributes:
        about: what it is.    values: its grid.    flag: of train_cider.py, which takes a value.
        switch: in place of a flag, the options that stand for each value.
    """

    about: str
    values: Sequence[str]
    flag: str = ""
    switch: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def options(self, value: str) -> list[str]:
        """The options that set a value."""
        return list(self.switch[value]) if self.switch else [self.flag, value]

    def flags(self) -> list[str]:
        """Every option that it may set."""
        return [flag for options in self.switch.values() for flag in options] or [self.flag]


ABLATIONS = {
    "w": Ablation("weight of the compactness loss", ("0.5", "1", "2", "4"), "--w"),
    "temperature": Ablation("temperature of both losses", ("0.05", "0.1", "0.2", "0.5"), "--temp"),
    "alpha": Ablation("what a sample leaves of its prototype", ("0", "0.5", "0.9", "0.95", "0.99"), "--proto_m"),
    "head-dimension": Ablation("dimension of the embedding", ("16", "64", "128", "512"), "--feat_dim"),
    "no-dispersion": Ablation(
        "loss with and without the dispersion term",
        ("with", "without"),
        switch={"with": (), "without": ("--no-dispersion",)},
    ),
    "learnable-prototypes": Ablation("moving average or parameters", ("ema", "learnable"), "--prototypes"),
    "warmup": Ablation(
        "warm-up, or the official code's with its negative rates in the first epoch",
        ("linear", "reference"),
        "--warmup",
    ),
    "prototype-init": Ablation("where prototypes start", ("class-means", "simplex"), "--prototype-init"),
}
# What a step of the plan sets by itself, so that it cannot be an option of the user's.
TAKEN = ("--in-dataset", "--seed", "--name", "--loss", "--resume", "--trial")


def parse_arguments() -> argparse.Namespace:
    """The command line; what stands behind -- becomes `args.training`."""
    listed = "\n".join(f"    {name:<22}{each.about}: {', '.join(each.values)}" for name, each in ABLATIONS.items())
    parser = OptionParser(description=f"{__doc__}\nablations:\n{listed}")
    parser.add_argument("ablation", choices=ABLATIONS, metavar="NAME", help="one of the above")
    parser.add_argument(
        "--in-dataset", type=full_id_name, choices=ID_NAMES, default="CIFAR-10", help="ID set (default: CIFAR-10)"
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", metavar="S", help="(default: the ID set's usual one and the next two)"
    )
    parser.add_argument("--values", nargs="+", metavar="V", help="in place of the grid")
    parser.add_argument("--ood_loc", type=Path, metavar="PATH", help="of the evaluation: folder of the OOD sets")
    parser.add_argument(
        "--ood-sets", type=full_ood_name, nargs="+", metavar="SET", help="of the evaluation: names, or NAME=PATH"
    )
    parser.add_argument(
        "--csv", type=Path, metavar="FILE", help="put the rows there, too; the README's are in results/measured.csv"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the commands that are still to be run, no more")
    own = sys.argv[1:]
    cut = own.index("--") if "--" in own else len(own)
    args = parser.parse_args(own[:cut])
    args.training = own[cut + 1 :]
    chosen = ABLATIONS[args.ablation]
    flags = [token.split("=")[0].replace("_", "-") for token in args.training]
    for flag in flags:
        if flag in TAKEN or flag in [each.replace("_", "-") for each in chosen.flags()]:
            parser.error(f"{flag} behind -- is set by the ablation itself; see --in-dataset, --seeds and --values")
    args.values = args.values or list(chosen.values)
    unknown = [value for value in args.values if chosen.switch and value not in chosen.switch]
    if unknown:
        parser.error(f"{args.ablation} has the values {', '.join(chosen.switch)}, not {unknown[0]}")
    usual = cider_settings(args.in_dataset, "cider")["seed"]
    args.seeds = args.seeds or [usual, usual + 1, usual + 2]
    return args


def plan(args: argparse.Namespace) -> list[Step]:
    """A step for each value and seed, the values of one seed together, so that an early end can be compared."""
    evaluate = [] if args.ood_loc is None else ["--ood_loc", str(args.ood_loc)]
    evaluate += [] if args.ood_sets is None else ["--ood-sets", *args.ood_sets]
    steps = []
    for seed in args.seeds:
        for value in args.values:
            setting = ABLATIONS[args.ablation].options(value)
            options = ["--in-dataset", args.in_dataset, *args.training, *setting, "--seed", str(seed)]
            # The train script's own reading of the command line: its checks, and the place of the run.
            run, device = train_cider.parse_arguments(options)
            folder = run.checkpoints / run.in_dataset / run.name
            steps.append(
                Step(
                    label=f"{args.ablation} {value}, seed {seed}",
                    train=["train_cider.py", *options],
                    checkpoint=folder / f"checkpoint_{run.epochs}.pth.tar",
                    evaluate=["--score", "knn", "--no-plots", "--device", str(device), *evaluate],
                    out=folder / f"eval_{run.epochs}",
                    settings={
                        "score": ["knn"],
                        "ood_sets": args.ood_sets,
                        "ood_loc": args.ood_loc and str(args.ood_loc),
                    },
                    there=sets_there(args.in_dataset, args.ood_loc) if args.ood_sets is None else frozenset(),
                )
            )
    return steps


def show(args: argparse.Namespace, steps: Sequence[Step]) -> None:
    """Print the table of all values, and gather the rows where that was asked for."""
    experiment = f"{args.in_dataset.lower().replace('-', '')}-ablation-{args.ablation}"
    found = [row for step in steps for row in rows.from_metrics(step.metrics, experiment)]
    if args.csv is not None:
        rows.write(rows.merge(rows.read(args.csv), found), args.csv)
        print(f"{args.csv}: {len(found)} rows of {experiment}")
    groups = aggregate(found)
    print(f"\n{args.ablation}: {ABLATIONS[args.ablation].about}")
    print(as_text(by_method(groups, metrics=("auroc",), embedding=("id_accuracy_knn", "dispersion", "compactness"))))
    print(as_text(by_method(groups, metrics=("fpr95",))))


def main() -> None:
    """Train and evaluate what is missing, then show everything."""
    args = parse_arguments()
    steps = plan(args)
    if carry_out(steps, dry_run=args.dry_run):
        show(args, steps)


if __name__ == "__main__":
    run_script(main)
