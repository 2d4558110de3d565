#!/bin/sh
# MCD (maximum classifier discrepancy) on CIFAR-10: DenseNet-BC-100-12, 300 epochs of pre-training, then 10 of fine-tuning
# on an unlabelled mix of ID test and one OOD set, as in the paper: transductive, on the very images that are scored.
# Further options are passed on and win. One fine-tuning for each OOD set of the paper, on one pre-training:
#   for set in TinyImageNet_crop TinyImageNet_resize LSUN LSUN_resize iSUN; do sh scripts/train_mcd_cifar10.sh --ood "$set"; done
# Unlabelled images other than the scored ones: sh scripts/train_mcd_cifar10.sh --unlabelled inductive
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
. "$root/scripts/environment.sh"
exec "$PYTHON" "$root/train_mcd.py" --in-dataset CIFAR-10 --model densenet-bc-100-12 --pretrain-epochs 300 --pretrain-batch-size 64 \
    --pretrain-learning_rate 0.1 --pretrain-weight-decay 5e-4 --epochs 10 --batch-size 128 --learning_rate 0.01 --weight-decay 1e-4 \
    --margin 1.2 --seed 1 "$@"
