"""Train CIDER (Ming et al., ICLR 2023), or its SupCon and cross-entropy baselines.

    python train_cider.py                                        digits, two minutes on a laptop, nothing to download
    python train_cider.py --in-dataset CIFAR-10 --amp bf16 --channels-last            the paper's run, 500 epochs
    torchrun --nproc_per_node=4 train_cider.py --in-dataset CIFAR-100 --amp bf16      the same on four GPUs

Settings that are not given are the paper's for that ID set. Everything goes into checkpoints/<ID set>/<run name>/; the
same command again goes on where the run was interrupted.
"""

import argparse
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from models.cider import CIDERNet
from models.resnet import load_torchvision_weights
from utils.cli import options
from utils.cli import train as train_options
from utils.cli.device import choose_device
from utils.cli.settings import cider_settings
from utils.data.augment import PaddedCrop, TwoViews
from utils.data.batches import Batch
from utils.errors import UserError, run_script
from utils.evaluation.features import extract
from utils.losses import CompLoss, DisLoss, SupConLoss
from utils.prototypes import EMAPrototypes, LearnablePrototypes, class_means, simplex
from utils.training import distributed
from utils.training.loop import Losses, Method
from utils.training.monitor import HeadMonitor
from utils.training.run import TrainRun, run_training

Prototypes = EMAPrototypes | LearnablePrototypes


def parse_arguments(command_line: Sequence[str] | None = None) -> tuple[argparse.Namespace, torch.device]:
    """The command line (by default this process's), completed by the paper's settings, checked without any data."""
    parser = options.OptionParser(description=__doc__)
    train_options.add_data_options(parser)
    method = parser.add_argument_group("method")
    method.add_argument(
        "--loss",
        choices=("cider", "supcon", "ce"),
        default="cider",
        help="cider; supcon, for the KNN+ and SSD+ of the tables; ce, cross-entropy (default: cider)",
    )
    method.add_argument(
        "--w",
        type=options.non_negative_float,
        help="weight of the compactness loss. The paper uses 2 on CIFAR-10, 1 on CIFAR-100",
    )
    method.add_argument(
        "--proto_m",
        type=options.fraction,
        help="alpha, what a sample leaves of a prototype. 0.95 on CIFAR-10; 0.5 with 100 classes, each seen rarely",
    )
    method.add_argument(
        "--temp", type=options.positive_float, default=0.1, help="temperature of the losses (default: 0.1)"
    )
    method.add_argument(
        "--no-dispersion",
        action="store_true",
        help="train with w * L_comp alone, the paper's ablation: nothing but chance then keeps prototypes apart",
    )
    method.add_argument(
        "--prototypes",
        choices=("ema", "learnable"),
        default="ema",
        help="ema: moving average of the embeddings (the paper). learnable: plain parameters, the paper's ablation",
    )
    method.add_argument(
        "--prototype-init",
        choices=("class-means", "simplex"),
        help="class-means: of the ID training set (the paper). simplex: as far apart as can be, at random; in short "
        "runs this keeps classes from sharing a prototype (default: class-means; simplex for digits and folder)",
    )
    network = train_options.add_network_options(parser)
    network.add_argument(
        "--head", choices=("mlp", "linear"), default="mlp", help="projection head (default: mlp, as in the paper)"
    )
    network.add_argument(
        "--feat_dim",
        type=options.positive_int,
        default=128,
        help="dimension of the embedding in which the losses live (default: 128)",
    )
    train_options.add_optimisation_options(parser)
    train_options.add_run_options(parser)
    train_options.add_speed_options(parser)
    parser.refuse("--start-epoch", "--resume auto, the default, finds the epoch by itself")
    parser.refuse("--normalize", "embeddings are always normalised, as in the paper")
    parser.refuse(
        "--subset", "every set is evaluated as METHODS in the README says; for a short training use --limit-train"
    )
    args = parser.parse_args(command_line)
    settings = train_options.complete(parser, args, cider_settings(args.in_dataset, args.loss))
    train_options.check_training(parser, args)
    if args.no_dispersion and args.loss != "cider":
        parser.error(f"--no-dispersion is about the two terms of --loss cider, not about {args.loss}")
    if args.proto_m == 1:
        parser.error("--proto_m 1 would never move a prototype; the paper uses 0.5 to 0.99")
    train_options.name_run(parser, args, settings, args.loss)
    return args, choose_device(args)


def build_model(args: argparse.Namespace, num_classes: int) -> CIDERNet:
    """The network, with the part that the loss does not reach left out of the optimisation."""
    try:
        model = CIDERNet(
            args.model,
            args.head,
            args.feat_dim,
            num_classes,
            args.stem,
            args.pretrained and not args.weights,
            args.width,
            "all" if args.train_layers == "all" else None,
        )
        if args.weights:
            load_torchvision_weights(model.encoder, args.weights)
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error
    # A parameter without gradient is no part of the optimisation, nor of what DistributedDataParallel waits for.
    (model.head if args.loss == "ce" else model.fc).requires_grad_(False)
    return model


class Classifier(nn.Module):
    """The network's logits as a forward pass, which is what DistributedDataParallel and torch.compile wrap."""

    def __init__(self, model: CIDERNet):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, S, S) -> (N, C)."""
        return self.model.logits(images)


def cider_method(
    embed: nn.Module, prototypes: Prototypes, *, w: float, temperature: float, with_dispersion: bool = True
) -> Method:
    """One step of CIDER: L = L_dis + w * L_comp (paper, eq. 5 to 8), or w * L_comp without dispersion."""
    compactness, dispersion = CompLoss(temperature), DisLoss(temperature, temperature)

    def losses(batch: Batch) -> Iterator[Losses]:
        z, y = _embeddings(embed, batch)
        if isinstance(prototypes, EMAPrototypes):
            mu = prototypes.update(z, y)
            # The paper's compactness term pulls embeddings to prototypes, not prototypes to embeddings.
            targets = mu.detach()
        else:
            mu = targets = prototypes()
        dis, comp = dispersion(mu), compactness(z, targets, y)
        own = (z.detach() * mu.detach()[y]).sum(1).mean()
        yield {
            "loss": dis + w * comp if with_dispersion else w * comp,
            "loss/dis": dis,
            "loss/comp": comp,
            "cosine/own-prototype": own,
            "cosine/pairs": _pairs(z),
        }

    return losses


def supcon_method(embed: nn.Module, *, temperature: float) -> Method:
    """One step of supervised contrastive learning (Khosla et al. 2020), whose features KNN+ and SSD+ score."""
    supcon = SupConLoss(temperature)

    def losses(batch: Batch) -> Iterator[Losses]:
        z, y = _embeddings(embed, batch)
        by_image = torch.stack(z.chunk(2), 1)  # B x 2 x D
        yield {"loss": supcon(by_image, y[: len(by_image)]), "cosine/pairs": _pairs(z)}

    return losses


def cross_entropy_method(classify: nn.Module) -> Method:
    """One step of the cross-entropy baseline, on one view."""

    def losses(batch: Batch) -> Iterator[Losses]:
        logits = distributed.gather_rows(classify(batch.images), batch.size)
        labels = distributed.gather_rows(batch.labels, batch.size)
        yield {"loss": nn.functional.cross_entropy(logits, labels)}

    return losses


def _embeddings(embed: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Unit embeddings and labels of both views of the global batch, view 1 first."""
    z = distributed.gather_rows(embed(batch.images), batch.size, views=2)
    y = distributed.gather_rows(batch.labels, batch.size)
    return z, y.repeat(2)


def _pairs(z: Tensor) -> Tensor:
    """Mean cosine between the embeddings of a batch: the squared length of their mean."""
    return z.detach().mean(0).square().sum()


def first_prototypes(run: TrainRun, model: CIDERNet) -> Tensor:
    """(C, D) unit rows: class means of the ID training set (test transform), or a simplex; no test image."""
    args, data = run.args, run.data
    count = len(data.class_names)
    if args.prototype_init == "simplex":
        return simplex(count, args.feat_dim, torch.Generator().manual_seed(args.seed))
    found = extract(
        model,
        data.train,
        mean=data.mean,
        std=data.std,
        device=run.device,
        batch_size=args.batch_size,
        workers=args.workers,
    )
    return class_means(found.outputs["embedding"], data.train.labels, count)


def make_prototypes(run: TrainRun, model: CIDERNet) -> Prototypes:
    """The prototypes of --prototypes where --prototype-init puts them, or where the resumed run left them."""
    args, count = run.args, len(run.data.class_names)
    if args.prototypes == "ema":
        prototypes = EMAPrototypes(count, args.feat_dim, args.proto_m)
    else:
        prototypes = LearnablePrototypes(count, args.feat_dim)
    if run.state is None:
        with torch.no_grad():
            # From one process, for two GPUs may round differently and the prototypes must be the same on all.
            prototypes.prototypes.copy_(distributed.from_main(lambda: first_prototypes(run, model)))
    return prototypes.to(run.device)


def unit_rows(prototypes: Prototypes) -> Tensor:
    """(C, D) unit prototypes of the moment, without gradient."""
    with torch.no_grad():
        return prototypes.prototypes if isinstance(prototypes, EMAPrototypes) else prototypes()


def train(run: TrainRun) -> None:
    """Train the network with the loss that was asked for."""
    args, data = run.args, run.data
    model = run.place(build_model(args, len(data.class_names)))
    common = dict(hflip=data.hflip, mean=data.mean, std=data.std)
    if args.loss == "ce":
        batches = run.batches(PaddedCrop(data.size, **common))
        run.fit(model, cross_entropy_method(run.wrap(Classifier(model))), batches, name="ce")
        return
    batches = run.batches(TwoViews(data.size, crop_scale=data.crop_scale, **common))
    if args.loss == "supcon":
        method = supcon_method(run.wrap(model), temperature=args.temp)
        run.fit(model, method, batches, name="supcon", describe=HeadMonitor(trained_with=vars(args)))
        return
    prototypes = make_prototypes(run, model)
    of_the_moment = partial(unit_rows, prototypes)
    run.fit(
        model,
        cider_method(
            run.wrap(model), prototypes, w=args.w, temperature=args.temp, with_dispersion=not args.no_dispersion
        ),
        batches,
        name="cider",
        others={"prototypes": prototypes},
        prototypes=of_the_moment,
        describe=HeadMonitor(of_the_moment, data.class_names, args.warmup_epochs * len(batches), vars(args)),
    )


if __name__ == "__main__":
    run_script(lambda: run_training(parse_arguments, train))
