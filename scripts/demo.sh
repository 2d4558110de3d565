#!/bin/sh
# The whole way on two CPU cores, without any data: train CIDER on handwritten digits, evaluate, print the table, draw.
#   sh scripts/demo.sh                 everything, with the set-up on the first call
#   sh scripts/demo.sh --epochs 1      options for train_cider.py are passed on
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
. "$root/scripts/environment.sh"
set_up "$root/requirements.txt"
runs=${DEMO_RUNS:-"$root/checkpoints"}
"$PYTHON" "$root/train_cider.py" --in-dataset digits --device cpu --channels-last --checkpoints "$runs" --name demo "$@"
"$PYTHON" "$root/eval_cider.py" --in-dataset digits --device cpu --checkpoints "$runs" --name demo
