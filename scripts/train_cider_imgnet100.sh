#!/bin/sh
# CIDER on ImageNet-100: fine-tunes the last stage of torchvision's ResNet-34 for 10 epochs, as in the paper.
# Further options are passed on and win: sh scripts/train_cider_imgnet100.sh --amp bf16 --channels-last --compile
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
. "$root/scripts/environment.sh"
exec "$PYTHON" "$root/train_cider.py" --in-dataset ImageNet-100 --model resnet34 --stem imagenet --pretrained --head mlp --loss cider --epochs 10 \
    --batch-size 512 --learning_rate 0.01 --cosine --warmup-epochs 1 --proto_m 0.95 --w 2 --feat_dim 128 --seed 4 "$@"
