#!/bin/sh
# CIDER, SupCon, PALM and cross-entropy under one recipe: AUROC of each, and the difference to CIDER with an interval.
#   sh scripts/compare_objectives.sh                       CIFAR-10, ResNet-18, 100 epochs, seeds 4, 5 and 6: for a GPU
#   sh scripts/compare_objectives.sh 4 -- --amp bf16 --channels-last --compile      options behind -- go to train_cider.py
#   sh scripts/compare_objectives.sh --in-dataset digits --epochs 30                without data
#   sh scripts/compare_objectives.sh --dry-run             the commands, and which data is missing for them
# The same command again goes on where it was interrupted. All options: sh scripts/compare_objectives.sh --help
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
. "$root/scripts/environment.sh"
set_up "$root/requirements.txt"
exec "$PYTHON" "$root/scripts/experiments.py" compare_objectives "$@"
