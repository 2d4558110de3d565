#!/bin/sh
# Set up .venv if needed and measure speed; the figures go to benchmarks/results/: sh scripts/benchmark.sh [options]
# On the GPU if there is one, under 9 minutes there. Options: sh scripts/benchmark.sh --help
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
. "$root/scripts/environment.sh"
set_up "$root/benchmarks/requirements.txt" "$root/requirements.txt"
exec "$PYTHON" "$root/benchmarks/run.py" "$@"
