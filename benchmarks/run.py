"""Measure the speed of what this repository runs, each part beside a baseline in the same process.

    python benchmarks/run.py                       all, on the GPU if there is one; about 8 minutes on two CPU cores
    python benchmarks/run.py --only step knn       some; the other rows of the CSV stay as they are
    python benchmarks/run.py --quick               tiny sizes: does everything run? Writes nothing unless --out is given

Figures go to benchmarks/results/<device>.csv, and from there into benchmarks/README.md; a table comes last.
"""

import argparse
import os
import platform
import re
import sys
import time
import traceback
from datetime import UTC, datetime
from importlib import import_module, metadata, util
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils.cli.options import positive_int
from utils.cli.start import start

if __name__ == "__main__":
    start()

import torch
import torchvision

from benchmarks import report

# Every bench_NAME.py in this folder has `measure(device, *, quick)`, which returns rows.
BENCHMARKS = {
    path.stem.removeprefix("bench_"): import_module(f"benchmarks.{path.stem}").measure
    for path in sorted(Path(__file__).parent.glob("bench_*.py"))
}


def main(command_line: list[str] | None = None) -> int:
    """Run what the command line asks for; 1 where a benchmark broke off."""
    args = parse_arguments(command_line)
    device = torch.device(args.device)
    if args.threads:
        torch.set_num_threads(args.threads)
    out = args.out or (None if args.quick else report.RESULTS)
    here = conditions(device)
    done, failed = [], []
    for name in args.only or BENCHMARKS:
        begun = time.monotonic()
        print(f"{name} ...", flush=True)
        try:
            rows = [{"benchmark": name, **row, **here} for row in BENCHMARKS[name](device, quick=args.quick)]
        except Exception:  # one that breaks off shall not cost the figures of the others
            traceback.print_exc()
            failed.append(name)
            continue
        if args.quick:  # the targets are for full sizes
            rows = [row | {"target": "", "met": ""} for row in rows]
        done += rows
        print(f"{report.short_table(rows)}\n{name}: {time.monotonic() - begun:.0f} s\n", flush=True)
        if out:
            path = out / f"{file_name(device)}.csv"
            report.write(path, report.merge(report.read(path), list(map(report.as_text, rows)), tuple(BENCHMARKS)))
        if out == report.RESULTS:
            report.update_readme()
    print(report.short_table(done))
    if failed:
        print(f"broke off: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def parse_arguments(command_line: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    there = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    parser.add_argument("--device", choices=there, default=there[-1], help="default: cuda if there is one")
    parser.add_argument("--only", nargs="+", choices=tuple(BENCHMARKS), metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="tiny sizes, whose figures mean nothing")
    parser.add_argument("--threads", type=positive_int, metavar="N", help="CPU threads (default: what torch chooses)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the CSV (default: benchmarks/results)")
    return parser.parse_args(command_line)


def conditions(device: torch.device) -> dict[str, object]:
    """Under what the figures were measured."""
    return {
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "load_before": f"{os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "faiss": metadata.version("faiss-cpu") if util.find_spec("faiss") else None,
    }


def device_name(device: torch.device) -> str:
    """Name of the GPU; of a CPU its kind and the cores that this process may use."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    found = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"^model name\s*:\s*(.+)", found, re.MULTILINE)
    return f"{model[1] if model else platform.machine()} ({os.cpu_count()} cores)"


def file_name(device: torch.device) -> str:
    """Name of the CSV without ending: cpu, or the GPU's name such as nvidia-h200."""
    return "cpu" if device.type == "cpu" else re.sub(r"[^a-z0-9]+", "-", device_name(device).lower()).strip("-")


if __name__ == "__main__":
    sys.exit(main())
