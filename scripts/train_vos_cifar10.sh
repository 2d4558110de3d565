#!/bin/sh
# VOS on CIFAR-10, the paper's settings: WRN-40-2, 100 epochs of 128 images, virtual outliers from epoch 41 on.
# Further options are passed on and win: sh scripts/train_vos_cifar10.sh --amp bf16 --channels-last --compile
# The cross-entropy baseline: sh scripts/train_vos_cifar10.sh --loss_weight 0
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
. "$root/scripts/environment.sh"
exec "$PYTHON" "$root/train_vos.py" --in-dataset CIFAR-10 --model wrn-40-2 --epochs 100 --batch-size 128 --learning_rate 0.1 --cosine \
    --droprate 0.3 --loss_weight 0.1 --start_epoch 40 --sample_number 1000 --sample_from 10000 --select 1 --seed 1 "$@"
