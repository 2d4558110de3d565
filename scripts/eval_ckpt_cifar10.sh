#!/bin/sh
# Evaluate a CIDER checkpoint with CIFAR-10 as ID set: sh scripts/eval_ckpt_cifar10.sh NAME [options]
# NAME is a folder in checkpoints/CIFAR-10/ with a checkpoint_<epoch>.pth.tar, of this repository or of the official code.
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
id_set=CIFAR-10
. "$root/scripts/evaluate.sh"
