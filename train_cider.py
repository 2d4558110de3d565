"""Train CIDER (Ming et al., ICLR 2023), PALM (Lu et al., ICLR 2024), or the SupCon and cross-entropy baselines.

    python train_cider.py                                        digits, two minutes on a laptop, nothing to download
    python train_cider.py --in-dataset CIFAR-10 --amp bf16 --channels-last            the paper's run, 500 epochs
    torchrun --nproc_per_node=4 train_cider.py --in-dataset CIFAR-100 --amp bf16      the same on four GPUs

Settings that are not given are the paper's for that ID set. Everything goes into checkpoints/<ID set>/<run name>/; the
same command again goes on where the run was interrupted.
"""

from utils.cli.cider import parse_arguments
from utils.cli.start import start

if __name__ == "__main__":
    start(parse_arguments, __doc__)

import argparse
from functools import partial

import torch
from torch import Tensor, nn

from models.cider import CIDERNet
from utils.cli.device import choose_device
from utils.cli.run import load_data, open_run, settle_batches
from utils.cli.train import downloads_weights
from utils.data.augment import PaddedCrop, TwoViews
from utils.data.batches import Batch
from utils.data.id_sets import IDData
from utils.errors import run_script
from utils.losses import CompLoss, DisLoss, MixtureLikelihoodLoss, PrototypeContrastLoss, SupConLoss
from utils.prototypes import EMAPrototypes, LearnablePrototypes, simplex
from utils.prototypes.mixture import MixturePrototypes
from utils.training.distributed import gather_rows, processes, refuse
from utils.training.monitor import HeadMonitor
from utils.training.recipe import Losses, Recipe, Step, cross_entropy_step
from utils.training.start import start_network

Prototypes = EMAPrototypes | LearnablePrototypes


def build_model(args: argparse.Namespace, num_classes: int) -> CIDERNet:
    """The network, with the part that the loss does not reach left out of the optimisation."""
    make = partial(
        CIDERNet,
        args.model,
        args.head,
        args.feat_dim,
        num_classes,
        args.stem,
        downloads_weights(args),
        args.width,
        "all" if args.train_layers == "all" else None,
    )
    model = start_network(make, weights=args.weights, init_from=args.init_from)
    # A parameter without gradient is no part of the optimisation, nor of what DistributedDataParallel waits for.
    (model.head if args.loss == "ce" else model.fc).requires_grad_(False)
    return model


def cider_step(prototypes: Prototypes, *, w: float, temperature: float, with_dispersion: bool = True) -> Step:
    """One step of CIDER: L = L_dis + w * L_comp (paper, eq. 5 to 8), or w * L_comp without dispersion."""
    compactness, dispersion = CompLoss(temperature), DisLoss(temperature)

    def step(network: nn.Module, batch: Batch) -> Losses:
        z, y = _embeddings(network, batch)
        if isinstance(prototypes, EMAPrototypes):
            mu = prototypes.update(z, y)
            # The paper's compactness term pulls embeddings to prototypes, not prototypes to embeddings.
            targets = mu.detach()
        else:
            mu = targets = prototypes()
        dis, comp = dispersion(mu), compactness(z, targets, y)
        return {
            "loss": dis + w * comp if with_dispersion else w * comp,
            "loss/dis": dis,
            "loss/comp": comp,
            "cosine/own-prototype": (z.detach() * mu.detach()[y]).sum(1).mean(),
            "cosine/pairs": _pairs(z),
        }

    return step


def supcon_step(temperature: float) -> Step:
    """One step of supervised contrastive learning (Khosla et al. 2020), whose features KNN+ and SSD+ score."""
    supcon = SupConLoss(temperature)

    def step(network: nn.Module, batch: Batch) -> Losses:
        z, y = _embeddings(network, batch)
        by_image = torch.stack(z.chunk(2), 1)  # B x 2 x D
        return {"loss": supcon(by_image, y[: len(by_image)]), "cosine/pairs": _pairs(z)}

    return step


def palm_step(prototypes: MixturePrototypes, *, w: float, temperature: float) -> Step:
    """One step of PALM (Lu et al. 2024): L = L_MLE + w * L_contrast, for prototypes that this batch has moved."""
    likelihood, contrast = MixtureLikelihoodLoss(temperature), PrototypeContrastLoss(prototypes.num_classes)

    def step(network: nn.Module, batch: Batch) -> Losses:
        z, y = _embeddings(network, batch)
        mu, weights = prototypes.update(z, y)
        mle, pcon = likelihood(z, mu.detach(), weights), contrast(mu)
        return {"loss": mle + w * pcon, "loss/mle": mle, "loss/contrast": pcon, "cosine/pairs": _pairs(z)}

    return step


def _embeddings(network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Unit embeddings and labels of both views of the images of all processes, view 1 first."""
    z = gather_rows(network(batch.images), batch.size, views=2)
    y = gather_rows(batch.labels, batch.size)
    return z, y.repeat(2)


def _pairs(z: Tensor) -> Tensor:
    """Mean cosine between the embeddings of a batch: the squared length of their mean."""
    return z.detach().mean(0).square().sum()


def make_prototypes(args: argparse.Namespace, num_classes: int) -> Prototypes:
    """The prototypes of --prototypes; on a simplex, unless --prototype-init leaves their start to the class means."""
    if args.prototypes == "ema":
        prototypes = EMAPrototypes(num_classes, args.feat_dim, args.proto_m)
    else:
        prototypes = LearnablePrototypes(num_classes, args.feat_dim)
    if args.prototype_init == "simplex":
        if num_classes > args.feat_dim + 1:
            refuse(
                f"--prototype-init simplex: in {args.feat_dim} dimensions there is none for {num_classes} classes\n"
                f"  do         : --prototype-init class-means, or --feat_dim {num_classes - 1}"
            )
        prototypes.start_at(simplex(num_classes, args.feat_dim, torch.Generator().manual_seed(args.seed)))
    return prototypes


def make_recipe(args: argparse.Namespace, data: IDData) -> Recipe:
    """What --loss trains, and how."""
    model = build_model(args, len(data.class_names))
    common = dict(hflip=data.hflip, mean=data.mean, std=data.std)
    if args.loss == "ce":
        crop = PaddedCrop(data.size, **common)
        return Recipe(model=model, steps=(cross_entropy_step,), forward="logits", augmentation=crop)
    views = TwoViews(data.size, crop_scale=data.crop_scale, **common)
    watched = HeadMonitor(trained_with=vars(args))
    if args.loss == "supcon":
        return Recipe(model=model, steps=(supcon_step(args.temp),), augmentation=views, monitor=watched)
    if args.loss == "palm":
        shape = (len(data.class_names), args.cache_size, args.feat_dim)
        mixture = MixturePrototypes(*shape, args.proto_m, nearest=args.nearest)
        steps = (palm_step(mixture, w=args.w, temperature=args.temp),)
        monitor = HeadMonitor(mixture, data.class_names, args.warmup_epochs, vars(args))
        return Recipe(model=model, steps=steps, augmentation=views, prototypes=mixture, monitor=monitor)
    prototypes = make_prototypes(args, len(data.class_names))
    return Recipe(
        model=model,
        steps=(cider_step(prototypes, w=args.w, temperature=args.temp, with_dispersion=not args.no_dispersion),),
        augmentation=views,
        prototypes=prototypes,
        class_means=args.prototype_init == "class-means",
        monitor=HeadMonitor(prototypes, data.class_names, args.warmup_epochs, vars(args)),
    )


def main() -> None:
    """Train, unless that is done."""
    args = parse_arguments(description=__doc__)
    device = choose_device(args)
    with processes(device, deterministic=args.deterministic) as device:
        data = load_data(args)
        settle_batches(args, "cider", data)
        run = open_run(args, data, args.loss, device)
        if not run.finished:
            run.train(make_recipe(args, data))
        run.say_what_next()


if __name__ == "__main__":
    run_script(main)
