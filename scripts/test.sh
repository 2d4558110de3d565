#!/bin/sh
# Set up .venv if needed and run the tests: sh scripts/test.sh [pytest options]
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
. "$root/scripts/environment.sh"
set_up "$root/tests/requirements.txt" "$root/requirements.txt"
cd "$root"
exec "$PYTHON" -m pytest "$@"
