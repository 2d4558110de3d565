#!/bin/sh
# CIDER on CIFAR-100, the paper's settings: ResNet-34, 500 epochs of 512 images in two views.
# Further options are passed on and win: sh scripts/train_cider_cifar100.sh --amp bf16 --channels-last --compile
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
. "$root/scripts/environment.sh"
exec "$PYTHON" "$root/train_cider.py" --in-dataset CIFAR-100 --model resnet34 --head mlp --loss cider --epochs 500 --batch-size 512 \
    --learning_rate 0.5 --cosine --proto_m 0.5 --w 1 --feat_dim 128 --seed 7 "$@"
