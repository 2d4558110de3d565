#!/bin/sh
# An ablation of CIDER's paper: trains each value of one setting, evaluates, and ends in a table, mean ± standard deviation over seeds.
#   sh scripts/ablation.sh w --in-dataset digits           a few minutes a value and seed on two CPU cores
#   sh scripts/ablation.sh prototype-init --dry-run        CIFAR-10, the paper's 500 epochs: what it would train
#   sh scripts/ablation.sh w -- --width 16 --epochs 30     options behind -- go to train_cider.py
# The same command again goes on where it was interrupted. All ablations: sh scripts/ablation.sh --help
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
. "$root/scripts/environment.sh"
set_up "$root/requirements.txt"
exec "$PYTHON" "$root/scripts/experiments.py" ablation "$@"
