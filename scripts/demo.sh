#!/bin/sh
# The whole way on two CPU cores, without any data: train on handwritten digits, evaluate, print the table, draw.
#   sh scripts/demo.sh                 CIDER, with the set-up on the first call
#   sh scripts/demo.sh vos             VOS
#   sh scripts/demo.sh mcd             MCD, with the held-out digits in its unlabelled mix: another task than that of the two
#   sh scripts/demo.sh --epochs 1      options for the train script are passed on; DEMO_RUNS=FOLDER keeps runs apart
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
. "$root/scripts/environment.sh"
case "${1:-}" in
cider | vos | mcd)
    method=$1
    shift
    ;;
*) method=cider ;;
esac
[ "$method" = cider ] && name=demo || name=demo-$method
set_up "$root/requirements.txt"
runs=${DEMO_RUNS:-"$root/checkpoints"}
"$PYTHON" "$root/train_$method.py" --in-dataset digits --device cpu --channels-last --checkpoints "$runs" --name "$name" "$@"
"$PYTHON" "$root/eval_cider.py" --in-dataset digits --device cpu --checkpoints "$runs" --name "$name"
# Other settings and methods have no range.
if [ "$#" -eq 0 ] && [ "$method" = cider ]; then
    "$PYTHON" "$root/scripts/demo_range.py" "$runs/digits/$name"
fi
