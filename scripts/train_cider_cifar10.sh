#!/bin/sh
# CIDER on CIFAR-10, the paper's settings: ResNet-18, 500 epochs of 512 images in two views.
# Further options are passed on and win: sh scripts/train_cider_cifar10.sh --amp bf16 --channels-last --compile
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
. "$root/scripts/environment.sh"
exec "$PYTHON" "$root/train_cider.py" --in-dataset CIFAR-10 --model resnet18 --head mlp --loss cider --epochs 500 --batch-size 512 \
    --learning_rate 0.5 --cosine --proto_m 0.95 --w 2 --feat_dim 128 --seed 4 "$@"
