"""Compare CIDER, VOS and MCD on the digits: the same encoder, epochs and scored images for all, several seeds.

    python scripts/compare_digits.py                         seeds 4, 5 and 6
    python scripts/compare_digits.py --seeds 4 --dry-run     what it would train and evaluate

MCD has two thirds of the epochs as pre-training, which its two modes share, and one third as fine-tuning. All methods
are scored on the images that the inductive MCD keeps for scoring, which the transductive MCD has seen without labels.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils.cli.options import OptionParser, positive_int
from utils.cli.start import start
from utils.errors import run_script
from utils.files import REPOSITORY
from utils.results.plan import Step, carry_out, make_step

MIXED, UNSEEN = "digits-6-9", "photographs"  # the OOD set in MCD's mix, and one that no method sees
# In the table's order.
SCORES = {"cider": "knn", "vos": "energy", "mcd-transductive": "discrepancy", "mcd-inductive": "discrepancy"}


def parse_arguments() -> argparse.Namespace:
    parser = OptionParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[4, 5, 6], metavar="S", help="(default: 4 5 6)")
    parser.add_argument(
        "--epochs", type=positive_int, default=30, metavar="N", help="of each method, at least 3 (default: 30)"
    )
    parser.add_argument("--width", type=positive_int, default=16, metavar="N", help="of the ResNet-18 (default: 16)")
    parser.add_argument(
        "--limit-train", type=positive_int, metavar="N", help="train on N images only, for a quick look"
    )
    parser.add_argument(
        "--checkpoints",
        type=Path,
        default=REPOSITORY / "checkpoints",
        help="folder of all runs (default: checkpoints/)",
    )
    parser.add_argument("--dry-run", action="store_true", help="print what is still to be done, and do nothing")
    args = parser.parse_args()
    # Commands that are recorded with results should hold on another machine, too.
    if args.checkpoints.resolve().is_relative_to(Path.cwd()):
        args.checkpoints = args.checkpoints.resolve().relative_to(Path.cwd())
    if args.epochs < 3:
        parser.error(f"--epochs {args.epochs}: MCD needs 3, two for its pre-training and one for its fine-tuning")
    return args


def steps_of(args: argparse.Namespace, seed: int) -> list[Step]:
    """The runs of one seed. An inductive MCD comes first, for its list of images is what all are scored on."""
    tuning = args.epochs // 3
    mcd = ["--pretrain-epochs", str(args.epochs - tuning), "--epochs", str(tuning), "--ood", MIXED]
    methods = {
        "mcd-inductive": ("train_mcd", [*mcd, "--unlabelled", "inductive"]),
        "mcd-transductive": ("train_mcd", [*mcd, "--unlabelled", "transductive"]),
        "cider": ("train_cider", ["--epochs", str(args.epochs)]),
        "vos": ("train_vos", ["--epochs", str(args.epochs)]),
    }
    size = "" if (args.width, args.limit_train) == (16, None) else f"-width{args.width}-limit{args.limit_train}"
    names = {method: f"compare-{method}-epochs{args.epochs}{size}-seed{seed}" for method in methods}
    split = args.checkpoints / "digits" / names["mcd-inductive"] / "split.json"
    common = ["--in-dataset", "digits", "--device", "cpu", "--channels-last", "--model", "resnet18"]
    common += ["--width", str(args.width), "--checkpoints", str(args.checkpoints), "--seed", str(seed)]
    common += ["--limit-train", str(args.limit_train)] if args.limit_train else []
    if args.epochs <= 3:  # the warm-up of CIDER's setting is three epochs
        methods["cider"][1].extend(["--warmup", "none"])
    return [
        make_step(
            f"{method}, seed {seed}",
            script,
            [*common, "--name", names[method], *options],
            [SCORES[method]],
            ood_sets=[MIXED, UNSEEN],
            scored=split,
            out="eval_compared",
            plots=script == "train_mcd",
            args=argparse.Namespace(
                checkpoints=args.checkpoints,
                in_dataset="digits",
                id_loc=None,
                name=names[method],
                epochs=tuning if script == "train_mcd" else args.epochs,
                device="cpu",
            ),
        )
        for method, (script, options) in methods.items()
    ]


def show(steps: Sequence[Step]) -> None:
    """Print the table of all evaluations."""
    from utils.evaluation.grid import as_text
    from utils.results import rows
    from utils.results.aggregate import aggregate
    from utils.results.tables import by_method

    ordered = sorted(steps, key=lambda step: list(SCORES).index(step.label.split(",")[0]))
    found = [row for step in ordered for row in rows.from_metrics(step.metrics, "compare-digits")]
    print(f"\n{as_text(by_method(aggregate(found), embedding=('id_accuracy_knn',)))}", end="")
    print(f"{MIXED} is in the unlabelled mix of MCD; no method has seen {UNSEEN}")
    print("epochs of MCD: two thirds pre-training, one third fine-tuning")


def main() -> None:
    """Train and evaluate what is not done, then show the table."""
    args = parse_arguments()
    start()
    steps = [step for seed in dict.fromkeys(args.seeds) for step in steps_of(args, seed)]
    if carry_out(steps, dry_run=args.dry_run):
        show(steps)


if __name__ == "__main__":
    run_script(main)
