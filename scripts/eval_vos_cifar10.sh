#!/bin/sh
# Evaluate a VOS checkpoint with CIFAR-10 as ID set: sh scripts/eval_vos_cifar10.sh NAME [options]
# NAME is a folder in checkpoints/CIFAR-10/ with a checkpoint_<epoch>.pth.tar; an official file: --ckpt FILE in place of NAME.
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
. "$root/scripts/environment.sh"
case "${1:-}" in
-h | --help) exec "$PYTHON" "$root/eval_cider.py" --help ;;
--ckpt) exec "$PYTHON" "$root/eval_cider.py" --in-dataset CIFAR-10 "$@" ;;
"" | -*)
    echo "usage: sh scripts/eval_vos_cifar10.sh NAME [options]     (NAME: a folder in checkpoints/CIFAR-10/)" >&2
    exit 2
    ;;
esac
name=$1
shift
exec "$PYTHON" "$root/eval_cider.py" --in-dataset CIFAR-10 --name "$name" "$@"
