#!/bin/sh
# The papers' tables on CIFAR-10: CIDER and its baselines, trained, evaluated and set beside the published numbers.
#   sh scripts/reproduce_cifar10.sh [seeds] [--dry-run] [-- options for the train scripts]          seeds: 4 5 6
# The same command again goes on where it stopped. Options: sh scripts/reproduce_cifar10.sh --help
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
. "$root/scripts/environment.sh"
set_up "$root/requirements.txt"
exec "$PYTHON" "$root/scripts/experiments.py" reproduce --in-dataset CIFAR-10 "$@"
