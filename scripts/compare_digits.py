"""Compare CIDER, VOS and MCD on the digits: the same encoder, epochs and scored images for all, several seeds.

    python scripts/compare_digits.py                         seeds 4, 5 and 6
    python scripts/compare_digits.py --seeds 4 --dry-run     what it would train and evaluate
    python scripts/compare_digits.py -- --width 8            options behind -- are for all train scripts

MCD has two thirds of the epochs as pre-training, which its two modes share, and one third as fine-tuning. All methods
are scored on the images that the inductive MCD keeps for scoring, which the transductive MCD has seen without labels.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils.cli.options import OptionParser, positive_int
from utils.errors import run_script
from utils.evaluation.grid import as_text
from utils.results.aggregate import aggregate
from utils.results.plan import Step, gathered, make_step, run_plan
from utils.results.tables import by_method

MIXED, UNSEEN = "digits-6-9", "photographs"  # the OOD set in MCD's mix, and one that no method sees


def add_options(parser: OptionParser) -> None:
    parser.add_argument("--seeds", type=int, nargs="+", default=[4, 5, 6], metavar="S", help="(default: 4 5 6)")
    parser.add_argument(
        "--epochs", type=positive_int, default=30, metavar="N", help="of each method, at least 3 (default: 30)"
    )


def steps_of(args: argparse.Namespace) -> list[Step]:
    """All runs. An inductive MCD comes first, for its list of images is what all of its seed are scored on."""
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
    for seed in dict.fromkeys(args.seeds):
        common = ["--in-dataset", "digits", "--device", "cpu", "--channels-last", "--seed", str(seed)]
        steps = [
            make_step(args, f"{name}, seed {seed}", script, [*common, *options], [score], experiment="compare-digits")
            for name, (script, options, score) in methods.items()
        ]
        scored = {"scored": steps[0].checkpoint.with_name("split.json")}
        found += [
            replace(step, evaluation=step.evaluation | scored, out=step.out.with_name("eval_compared"))
            for step in steps
        ]
    return found


def show(args: argparse.Namespace, steps: Sequence[Step]) -> None:
    """Print the table of all evaluations, the last method first."""
    found = gathered(steps[::-1], args.csv)
    print(f"\n{as_text(by_method(aggregate(found), embedding=('id_accuracy_knn',)))}", end="")
    print(f"{MIXED} is in the unlabelled mix of MCD; no method has seen {UNSEEN}")
    print("epochs of MCD: two thirds pre-training, one third fine-tuning")


if __name__ == "__main__":
    run_script(partial(run_plan, __doc__, add_options, steps_of, show))
