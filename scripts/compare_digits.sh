#!/bin/sh
# CIDER, VOS and MCD on the digits, three seeds each, scored on the same images: one table, mean ± standard deviation.
#   sh scripts/compare_digits.sh                     about 20 minutes on two CPU cores, after the set-up on the first call
#   sh scripts/compare_digits.sh --seeds 4 --dry-run
# MCD (maximum classifier discrepancy) is there twice, transductive and inductive; marks say who saw unlabelled OOD images.
# The same command again goes on where it was interrupted. All options: sh scripts/compare_digits.sh --help
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
. "$root/scripts/environment.sh"
set_up "$root/requirements.txt"
exec "$PYTHON" "$root/scripts/experiments.py" compare_digits "$@"
