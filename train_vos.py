"""Train VOS (Du et al., ICLR 2022): cross-entropy with virtual outliers, or its cross-entropy baseline.

    python train_vos.py                                    digits, two minutes on a laptop, nothing to download
    python train_vos.py --in-dataset CIFAR-10 --amp bf16 --channels-last          the paper's run, WRN-40-2, 100 epochs
    python train_vos.py --in-dataset CIFAR-10 --loss_weight 0                     the baseline, without outliers
    python train_vos.py --in-dataset folder --id-loc pets --image-size 224 --stem imagenet --model resnet50 --pretrained

From --start_epoch on, outliers are drawn where a Gaussian around the features of each class is least likely, and the
network learns to give them a low score. Everything goes into checkpoints/<ID set>/<run name>/; the same command again
goes on where the run was interrupted.
"""

from utils.cli.start import start
from utils.cli.vos import parse_arguments

if __name__ == "__main__":
    start(parse_arguments, __doc__)

import argparse
from functools import partial

import torch
from torch import nn

from models.vos import VOSNet
from utils.cli.device import choose_device
from utils.cli.run import load_data, open_run, settle_batches
from utils.cli.train import downloads_weights
from utils.data.augment import PaddedCrop
from utils.data.batches import Batch
from utils.data.id_sets import IDData
from utils.data.order import outlier_generator
from utils.errors import UserError, note, run_script
from utils.losses import log_weighted_sum_exp, uncertainty_loss
from utils.outliers import ClassQueues, NoiseOfSteps, cholesky_with_jitter, place
from utils.training.distributed import gather_rows, is_main, processes
from utils.training.monitor import JitterMonitor
from utils.training.recipe import Losses, Recipe, Step, cross_entropy_step
from utils.training.start import start_network

LOWEST_RATE = 1e-6  # where the cosine of the official code ends


def build_model(args: argparse.Namespace, num_classes: int) -> VOSNet:
    """The network; without energy weights and logistic head where no outliers would train them."""
    encoder = (args.stem, downloads_weights(args), args.width, args.train_layers)
    make = partial(
        VOSNet, args.model, num_classes, args.feat_dim or None, args.droprate, *encoder, args.loss_weight > 0
    )
    return start_network(make, weights=args.weights, init_from=args.init_from)


def make_queues(args: argparse.Namespace, data: IDData, feat_dim: int) -> ClassQueues:
    """A queue for every class; one that has fewer images than --sample_number can fill as many places only."""
    counts = torch.bincount(data.train.labels, minlength=len(data.class_names)).tolist()
    small = [count for count in counts if count < args.sample_number]
    if small and is_main():
        note(
            f"{len(small)} of {len(counts)} classes have fewer than --sample_number {args.sample_number} training "
            f"images (the smallest {min(small)}): their queues keep one feature an image"
        )
    try:
        return ClassQueues([min(count, args.sample_number) for count in counts], feat_dim)
    except ValueError as error:
        raise UserError(f"a class has no training images: {error}") from error


def vos_step(model: VOSNet, queues: ClassQueues, loss_weight: float) -> Step:
    """One step of VOS: L = CE + beta * uncertainty loss (paper, eq. 5), over the images of all processes.

    Without noise in the batch, before --start_epoch, the queues are filled and L = CE.
    """

    def step(network: nn.Module, batch: Batch) -> Losses:
        found = network(batch.images)
        features = gather_rows(found["penultimate"].detach(), batch.size)
        logits = gather_rows(found["logits"], batch.size)
        labels = gather_rows(batch.labels, batch.size)
        cross_entropy = nn.functional.cross_entropy(logits, labels)
        queues.update(features, labels)
        uncertainty = jitter = torch.zeros_like(cross_entropy)
        if batch.noise is not None:
            means, covariance = queues.statistics()
            factor, jitter = cholesky_with_jitter(covariance)
            outliers = place(means, factor, batch.noise)
            outlier_logits = model.classify(outliers.flatten(0, 1))
            scores = [log_weighted_sum_exp(f, model.energy) for f in (logits, outlier_logits)]
            uncertainty = uncertainty_loss(*scores, model.logistic)
        return {
            "loss": cross_entropy + loss_weight * uncertainty,
            "loss/ce": cross_entropy,
            "loss/uncertainty": uncertainty,
            "outliers/jitter": jitter,
        }

    return step


def make_recipe(args: argparse.Namespace, data: IDData, device: torch.device) -> Recipe:
    """Training with virtual outliers, or without."""
    num_classes = len(data.class_names)
    model = build_model(args, num_classes)
    common = dict(
        model=model,
        augmentation=PaddedCrop(data.size, hflip=data.hflip, mean=data.mean, std=data.std),
        cosine_to=LOWEST_RATE,
    )
    if not args.loss_weight:
        return Recipe(steps=(cross_entropy_step,), **common)
    shape, generator_of = (num_classes, model.embedding_dim), partial(outlier_generator, args.seed)
    queues = make_queues(args, data, model.embedding_dim)
    return Recipe(
        steps=(vos_step(model, queues, args.loss_weight),),
        forward="outputs",
        noise=NoiseOfSteps(*shape, args.sample_from, args.select, generator_of, device, args.start_epoch),
        others={"queues": queues},
        monitor=JitterMonitor(),
        late=model.uncertainty_parameters(),
        **common,
    )


def main() -> None:
    """Train, unless that is done."""
    args = parse_arguments(description=__doc__)
    device = choose_device(args)
    with processes(device, deterministic=args.deterministic) as device:
        data = load_data(args)
        settle_batches(args, "vos", data)
        run = open_run(args, data, "vos" if args.loss_weight else "ce", device)
        if not run.finished:
            if args.loss_weight and is_main():
                print(f"Virtual outliers from epoch {args.start_epoch + 1} of {args.epochs} on")
            run.train(make_recipe(args, data, device))
        run.say_what_next()


if __name__ == "__main__":
    run_script(main)
