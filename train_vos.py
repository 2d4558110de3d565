"""Train VOS (Du et al., ICLR 2022): cross-entropy with virtual outliers, or its cross-entropy baseline.

    python train_vos.py                                    digits, two minutes on a laptop, nothing to download
    python train_vos.py --in-dataset CIFAR-10 --amp bf16 --channels-last          the paper's run, WRN-40-2, 100 epochs
    python train_vos.py --in-dataset CIFAR-10 --loss_weight 0                     the baseline, without outliers
    python train_vos.py --in-dataset folder --id-loc pets --image-size 224 --stem imagenet --model resnet50 --pretrained

From --start_epoch on, outliers are drawn where a Gaussian around the features of each class is least likely, and the
network learns to give them a low score. Everything goes into checkpoints/<ID set>/<run name>/; the same command again
goes on where the run was interrupted.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from models.encoders import ARCHS
from models.resnet import load_torchvision_weights
from models.vos import VOSNet
from utils.cli import options
from utils.cli import train as train_options
from utils.cli.device import choose_device
from utils.cli.settings import vos_settings
from utils.data.augment import PaddedCrop
from utils.data.batches import Batch
from utils.data.id_sets import IDData
from utils.data.order import outlier_generator
from utils.errors import UserError, run_script
from utils.losses import log_weighted_sum_exp, uncertainty_loss
from utils.outliers import ClassQueues, NoiseOfSteps, cholesky_with_jitter, place
from utils.training import distributed
from utils.training.loop import Losses, Method
from utils.training.run import TrainRun, run_training

LOWEST_RATE = 1e-6  # where the cosine of the official code ends


def parse_arguments(command_line: Sequence[str] | None = None) -> tuple[argparse.Namespace, torch.device]:
    """The command line (by default this process's), completed by the paper's settings, checked without any data."""
    parser = options.OptionParser(description=__doc__)
    train_options.add_data_options(parser)
    method = parser.add_argument_group("method")
    method.add_argument(
        "--loss_weight",
        type=options.non_negative_float,
        default=0.1,
        help="beta, weight of the uncertainty loss; 0 is the cross-entropy baseline (default: 0.1, as in the paper)",
    )
    method.add_argument(
        "--start_epoch",
        type=options.positive_int,
        metavar="E",
        help="epochs before the first virtual outlier, at least 1, which fills the queues (default: 40 %% of --epochs, "
        "as in the paper)",
    )
    method.add_argument(
        "--sample_number",
        type=options.positive_int,
        metavar="N",
        help="features that the queue of a class keeps; a class with fewer images keeps as many as it has "
        "(default: 1000, as in the paper)",
    )
    method.add_argument(
        "--sample_from",
        type=options.positive_int,
        default=10_000,
        metavar="N",
        help="draws per class and step of which the least likely are kept; the cost does not depend on it "
        "(default: 10000, as in the paper)",
    )
    method.add_argument(
        "--select",
        type=options.positive_int,
        default=1,
        metavar="N",
        help="virtual outliers kept of them (default: 1, as in the paper)",
    )
    network = train_options.add_network_options(parser, ARCHS)
    network.add_argument(
        "--feat_dim",
        type=int,
        metavar="D",
        help="bottleneck behind the encoder (batch norm, linear, ReLU) in which the outliers are drawn, 0 for none; 64 "
        "worked where 512 did not (default: 0 on digits and CIFAR, as in the paper; else 64)",
    )
    network.add_argument(
        "--droprate", type=options.fraction, help="dropout of the WRNs (default: 0.3, as in the paper)"
    )
    train_options.add_optimisation_options(parser)
    train_options.add_run_options(parser)
    train_options.add_speed_options(parser)
    args = parser.parse_args(command_line)
    settings = train_options.complete(parser, args, vos_settings(args.in_dataset, args.model))
    if args.start_epoch is None:
        args.start_epoch = settings["start_epoch"] = max(1, round(0.4 * args.epochs))
    train_options.check_training(parser, args)
    check_method(parser, args)
    train_options.name_run(parser, args, settings, "vos" if args.loss_weight else "ce")
    return args, choose_device(args)


def check_method(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Settings with which VOS could not do anything."""
    if args.loss_weight and args.start_epoch >= args.epochs:
        parser.error(
            f"--start_epoch {args.start_epoch} leaves none of --epochs {args.epochs} for virtual outliers; "
            "--loss_weight 0 trains without any"
        )
    if args.feat_dim < 0:
        parser.error(f"--feat_dim {args.feat_dim} is no dimension; 0 stands for no bottleneck")
    if args.select > args.sample_from:
        parser.error(f"--select {args.select} of --sample_from {args.sample_from} draws is not possible")


def build_model(args: argparse.Namespace, num_classes: int) -> VOSNet:
    """The network; without energy weights and logistic head where no outliers would train them."""
    try:
        model = VOSNet(
            args.model,
            num_classes,
            args.feat_dim or None,
            args.droprate,
            args.stem,
            args.pretrained and not args.weights,
            args.width,
            args.train_layers,
            uncertainty=args.loss_weight > 0,
        )
        if args.weights:
            load_torchvision_weights(model.encoder, args.weights)
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error
    return model


def make_queues(args: argparse.Namespace, data: IDData, feat_dim: int) -> ClassQueues:
    """A queue for every class; one that has fewer images than --sample_number can fill as many places only."""
    counts = torch.bincount(data.train.labels, minlength=len(data.class_names)).tolist()
    small = [count for count in counts if count < args.sample_number]
    if small and distributed.is_main():
        print(
            f"note: {len(small)} of {len(counts)} classes have fewer than --sample_number {args.sample_number} "
            f"training images (the smallest {min(small)}): their queues keep one feature an image",
            file=sys.stderr,
        )
    try:
        return ClassQueues([min(count, args.sample_number) for count in counts], feat_dim)
    except ValueError as error:
        raise UserError(f"a class has no training images: {error}") from error


class Outputs(nn.Module):
    """Features and logits in one forward pass, which is what DistributedDataParallel and torch.compile wrap.

    Energy weights and logistic head are left out: before --start_epoch they have no gradient, for which
    DistributedDataParallel would wait; and after it every process has the same one, that of the whole batch.
    """

    def __init__(self, model: VOSNet):
        super().__init__()
        self.parts = nn.ModuleList([model.encoder, model.bottleneck, model.fc])
        self._outputs = model.outputs

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, 3, S, S) -> penultimate (N, d) and logits (N, C)."""
        return self._outputs(images)


def vos_method(
    outputs: nn.Module,
    model: VOSNet,
    queues: ClassQueues,
    *,
    loss_weight: float,
    start_epoch: int,
    sample_from: int,
    select: int,
    seed: int,
) -> Method:
    """One step of VOS: L = CE + beta * uncertainty loss (paper, eq. 5), over the images of all processes."""

    noise = NoiseOfSteps(
        len(model.energy),
        model.embedding_dim,
        sample_from,
        select,
        partial(outlier_generator, seed),
        model.energy.device,
    )

    def losses(batch: Batch) -> Iterator[Losses]:
        found = outputs(batch.images)
        features = distributed.gather_rows(found["penultimate"].detach(), batch.size)
        logits = distributed.gather_rows(found["logits"], batch.size)
        labels = distributed.gather_rows(batch.labels, batch.size)
        cross_entropy = nn.functional.cross_entropy(logits, labels)
        queues.update(features, labels)
        uncertainty = jitter = torch.zeros_like(cross_entropy)
        if batch.epoch >= start_epoch:
            means, covariance = queues.statistics()
            factor, jitter = cholesky_with_jitter(covariance)
            outliers = place(means, factor, noise.of(batch.epoch, batch.index))
            outlier_logits = model.classify(outliers.flatten(0, 1))
            scores = [log_weighted_sum_exp(f, model.energy) for f in (logits, outlier_logits)]
            uncertainty = uncertainty_loss(*scores, model.logistic)
        yield {
            "loss": cross_entropy + loss_weight * uncertainty,
            "loss/ce": cross_entropy,
            "loss/uncertainty": uncertainty,
            "outliers/jitter": jitter,
        }

    return losses


def cross_entropy_method(outputs: nn.Module) -> Method:
    """One step of the baseline."""

    def losses(batch: Batch) -> Iterator[Losses]:
        yield {"loss": nn.functional.cross_entropy(outputs(batch.images)["logits"], batch.labels)}

    return losses


class JitterNote:
    """Says once where the covariance had to be helped, which the log has in full."""

    def __init__(self) -> None:
        self._said = False

    def __call__(self, means: dict[str, float], step: int) -> dict[str, float]:
        """The log entries, as they are."""
        if means["outliers/jitter"] > 0 and not self._said:
            self._said = True
            print(
                f"warning: the covariance of the features is singular; up to step {step} a mean of "
                f"{means['outliers/jitter']:.2g} was added to its diagonal. A smaller --feat_dim avoids it.",
                file=sys.stderr,
            )
        return means


def train(run: TrainRun) -> None:
    """Train the network with virtual outliers, or without."""
    args, data = run.args, run.data
    model = run.place(build_model(args, len(data.class_names)))
    batches = run.batches(PaddedCrop(data.size, hflip=data.hflip, mean=data.mean, std=data.std))
    outputs = run.wrap(Outputs(model))
    if not args.loss_weight:
        run.fit(model, cross_entropy_method(outputs), batches, name="ce", cosine_to=LOWEST_RATE)
        return
    queues = make_queues(args, data, model.embedding_dim).to(run.device)
    method = vos_method(
        outputs,
        model,
        queues,
        loss_weight=args.loss_weight,
        start_epoch=args.start_epoch,
        sample_from=args.sample_from,
        select=args.select,
        seed=args.seed,
    )
    if distributed.is_main():
        print(f"Virtual outliers from epoch {args.start_epoch + 1} of {args.epochs} on")
    run.fit(
        model,
        method,
        batches,
        name="vos",
        others={"queues": queues},
        describe=JitterNote(),
        cosine_to=LOWEST_RATE,
        late=model.uncertainty_parameters(),
    )


if __name__ == "__main__":
    run_script(lambda: run_training(parse_arguments, train, "vos"))
