"""Say whether a demo has ended where other runs of it did, on other CPUs, with other threads and seeds.

    python scripts/demo_range.py checkpoints/digits/demo

The other runs stand in results/demo_range.csv, each with its command, threads and instruction set.
"""

import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils.cli.options import OptionParser, place
from utils.errors import UserError, run_script
from utils.files import REPOSITORY, read_json

# One run has one combination of these.
RUN = ("instructions", "threads", "seed", "cpu")
Rows = Sequence[Mapping[str, str]]


def read_rows() -> list[dict[str, str]]:
    """The measured rows: one for each run and OOD set, metrics in percent."""
    with open(REPOSITORY / "results" / "demo_range.csv", newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def expected(rows: Rows) -> dict[str, str]:
    """OOD set -> the range of all runs in words: `FPR95 1.40 to 20.03, AUROC 97.39 to 99.59`."""
    return {
        name: "FPR95 {} to {}, AUROC {} to {}".format(*ends(rows, name, "fpr95"), *ends(rows, name, "auroc"))
        for name in dict.fromkeys(row["ood"] for row in rows)
    }


def ends(rows: Rows, ood: str, metric: str) -> tuple[str, str]:
    """The smallest and the largest figure of all runs, as they stand in the file."""
    values = sorted((row[metric] for row in rows if row["ood"] == ood), key=float)
    return values[0], values[-1]


def verdict(rows: Rows, metrics: Mapping[str, Mapping[str, float]]) -> str:
    """The lines at the end of the demo; figures that are better than those of any run are as good as expected.

    Args:
        rows: of `read_rows`.    metrics: OOD set -> metric -> a fraction, as in metrics.json.
    """
    runs = {tuple(row[key] for key in RUN) for row in rows}
    lines = [f"What {len(runs)} runs came to, over CPUs, threads and seeds:"]
    outside = []
    for name, words in expected(rows).items():
        fpr95, auroc = (round(100 * metrics[name][metric], 2) for metric in ("fpr95", "auroc"))
        if fpr95 > float(ends(rows, name, "fpr95")[1]) or auroc < float(ends(rows, name, "auroc")[0]):
            outside.append(name)
        lines.append(f"  {name:<15} {words}; this one {fpr95:.2f}, {auroc:.2f}")
    worse = f"Worse than any of them: {', '.join(outside)}. It may be chance; try --seed 1, 2, 3."
    return "\n".join([*lines, worse if outside else "This one is as it should be."])


def main() -> None:
    """Print the verdict on the last evaluation of a demo."""
    parser = OptionParser(description=__doc__)
    parser.add_argument("run", type=place, help="run folder of the demo")
    run = parser.parse_args().run
    found = sorted(run.glob("eval_*/metrics.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UserError(
            f"no evaluation found.\n  looked for : {run}/eval_*/metrics.json\n  do         : sh scripts/demo.sh"
        )
    print(verdict(read_rows(), read_json(found[-1])["ood"]))


if __name__ == "__main__":
    run_script(main)
