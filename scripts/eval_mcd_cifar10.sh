#!/bin/sh
# Evaluate an MCD checkpoint with CIFAR-10 as ID set: sh scripts/eval_mcd_cifar10.sh NAME [options]
# NAME is a folder in checkpoints/CIFAR-10/ with a checkpoint_<epoch>.pth.tar, a file from elsewhere: --ckpt FILE in place of NAME.
# The images that are scored are those of the run's split.json, which the checkpoint holds, too.
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
id_set=CIFAR-10
. "$root/scripts/evaluate.sh"
