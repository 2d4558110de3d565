#!/bin/sh
# Set up .venv if needed and run the tests: sh scripts/test.sh [pytest options]
# Two files at a time, each on one thread: on few cores that is faster than one file on all of them.
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
. "$root/scripts/environment.sh"
set_up "$root/tests/requirements.txt" "$root/requirements.txt"
cd "$root"
export OMP_NUM_THREADS=1
exec "$PYTHON" -m pytest -n 2 --dist loadfile "$@"
