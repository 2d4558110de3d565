#!/bin/sh
# Evaluate a CIDER checkpoint with ImageNet-100 as ID set: sh scripts/eval_ckpt_imgnet100.sh NAME [options]
# NAME is a folder in checkpoints/ImageNet-100/ with a checkpoint_<epoch>.pth.tar, of this repository or of the official code.
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
id_set=ImageNet-100
. "$root/scripts/evaluate.sh"
