"""Gather evaluations into results/measured.csv, the only source of the numbers in README.md.

    python scripts/collect_results.py checkpoints/CIFAR-10/*/eval_500/metrics.json

One row per checkpoint, OOD set and score; a row of the same three that is there already is replaced.
"""

import argparse
import csv
import datetime
import io
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils.errors import UserError, run_script
from utils.files import REPOSITORY, atomic_write

COLUMNS = (
    "method,architecture,id,ood,score,seed,epochs,train_images,positive,images,fpr95,auroc,aupr_in,aupr_out,"
    "id_accuracy_knn,checkpoint_sha256,device,versions,date,trained_with"
).split(",")
KEY = ("checkpoint_sha256", "ood", "score")


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Rows of one metrics.json; metrics in percent with two decimals.

    Raises:
        UserError: not a metrics.json of eval_cider.py.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        trained = found["checkpoint"]["trained_with"]
        environment = found["environment"]
        common = {
            "method": found["method"],
            "architecture": found["arch"],
            "id": found["id_set"],
            "seed": trained.get("seed"),
            "epochs": found["epoch"],
            "train_images": found["id_train_images"],
            "positive": found["positive"],
            "id_accuracy_knn": f"{100 * found['id_accuracy']['knn']:.2f}",
            "checkpoint_sha256": found["checkpoint"]["sha256"][:16],
            "device": environment["gpu"] or environment["cpu"],
            "versions": f"torch {environment['torch']}, git {environment['git']}",
            "date": datetime.date.fromtimestamp(path.stat().st_mtime).isoformat(),
            "trained_with": " ".join(f"{key}={trained[key]}" for key in sorted(trained) if key in SHOWN),
        }
        return [
            common | {"ood": name, "score": score["score"], "images": row["images"]} | percent(row)
            for score in found["scores"].values()
            for name, row in score["ood"].items()
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a metrics.json of eval_cider.py ({type(error).__name__}: {error})") from error


SHOWN = (
    "batch_size",
    "learning_rate",
    "w",
    "proto_m",
    "temp",
    "prototypes",
    "prototype_init",
    "warmup",
    "warmup_epochs",
)


def percent(row: dict[str, float]) -> dict[str, str]:
    """The four metrics of a row, in percent."""
    return {name: f"{100 * row[name]:.2f}" for name in ("fpr95", "auroc", "aupr_in", "aupr_out")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("metrics", type=Path, nargs="+", help="metrics.json files of evaluations")
    parser.add_argument(
        "--csv", type=Path, default=REPOSITORY / "results" / "measured.csv", help="default: results/measured.csv"
    )
    args = parser.parse_args()
    rows: dict[tuple, dict[str, Any]] = {}
    if args.csv.exists():
        with open(args.csv, encoding="utf-8", newline="") as stream:
            rows = {tuple(row[name] for name in KEY): row for row in csv.DictReader(stream)}
    for path in args.metrics:
        for row in rows_of(path):
            rows[tuple(row[name] for name in KEY)] = row
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows.values())
    with atomic_write(args.csv, "w") as stream:
        stream.write(text.getvalue())
    print(f"{args.csv}: {len(rows)} rows")


if __name__ == "__main__":
    run_script(main)
