"""Train CIDER (Ming et al., ICLR 2023), or its SupCon and cross-entropy baselines.

    python train_cider.py                                        digits, two minutes on a laptop, nothing to download
    python train_cider.py --in-dataset CIFAR-10 --amp bf16 --channels-last            the paper's run, 500 epochs
    torchrun --nproc_per_node=4 train_cider.py --in-dataset CIFAR-100 --amp bf16      the same on four GPUs

Settings that are not given are the paper's for that ID set. Everything goes into checkpoints/<ID set>/<run name>/; the
same command again goes on where the run was interrupted.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from utils.evaluation.features import extract

from models.cider import CIDERNet
from models.resnet import load_torchvision_weights
from utils import options, train_options
from utils.data.augment import PaddedCrop, TwoViews
from utils.data.batches import Batch, TrainBatches
from utils.data.id_sets import IDData, load_id
from utils.errors import UserError, run_script
from utils.evaluation.quick import knn_accuracy
from utils.losses import CompLoss, DisLoss, SupConLoss
from utils.prototypes import EMAPrototypes, LearnablePrototypes, class_means, simplex
from utils.settings import cider_settings
from utils.training import checkpoint, distributed
from utils.training.loop import Training
from utils.training.monitor import HeadMonitor
from utils.training.resume import saved_state
from utils.training.run_folder import RunFolder
from utils.training.schedule import learning_rate

Method = Callable[[Batch], Iterator[dict[str, Tensor]]]


def parse_arguments() -> tuple[argparse.Namespace, torch.device]:
    """The command line, completed by the paper's settings and checked as far as that needs no data."""
    parser = options.OptionParser(description=__doc__)
    options.add_id_options(parser).add_argument(
        "--limit-train",
        type=options.positive_int,
        metavar="N",
        help="train on N images only, the same number of each class",
    )
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
        "--prototypes",
        choices=("ema", "learnable"),
        default="ema",
        help="ema: moving average of the embeddings (the paper). learnable: plain parameters, the paper's ablation",
    )
    method.add_argument(
        "--prototype-init",
        choices=("class-means", "simplex"),
        default="class-means",
        help="class-means: of the ID training set (the paper). simplex: as far apart as can be, at random; in short "
        "runs this keeps classes from sharing a prototype",
    )
    train_options.add_network_options(parser)
    train_options.add_optimisation_options(parser)
    train_options.add_run_options(parser)
    options.add_device_options(parser)
    parser.refuse("--start-epoch", "--resume auto, the default, finds the epoch by itself")
    parser.refuse("--normalize", "embeddings are always normalised, as in the paper")
    parser.refuse(
        "--subset", "every set is evaluated as METHODS in the README says; for a short training use --limit-train"
    )
    args = parser.parse_args()
    train_options.fill_in(args, cider_settings(args.in_dataset, args.loss))
    train_options.check_training(parser, args)
    args.name = args.name or train_options.run_name(parser, args, cider_settings(args.in_dataset, args.loss))
    return args, options.choose_device(parser, args)


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


def cider_method(
    embed: nn.Module, prototypes: EMAPrototypes | LearnablePrototypes, *, w: float, temperature: float
) -> Method:
    """One step of CIDER: L = L_dis + w * L_comp (paper, eq. 5 to 8)."""
    compactness, dispersion = CompLoss(temperature), DisLoss(temperature, temperature)

    def losses(batch: Batch) -> Iterator[dict[str, Tensor]]:
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
            "loss": dis + w * comp,
            "loss/dis": dis,
            "loss/comp": comp,
            "cosine/own-prototype": own,
            "cosine/pairs": _pairs(z),
        }

    return losses


def supcon_method(embed: nn.Module, *, temperature: float) -> Method:
    """One step of supervised contrastive learning (Khosla et al. 2020), whose features KNN+ and SSD+ score."""
    supcon = SupConLoss(temperature)

    def losses(batch: Batch) -> Iterator[dict[str, Tensor]]:
        z, y = _embeddings(embed, batch)
        by_image = torch.stack(z.chunk(2), 1)  # B x 2 x D
        yield {"loss": supcon(by_image, y[: len(by_image)]), "cosine/pairs": _pairs(z)}

    return losses


def cross_entropy_method(classify: nn.Module) -> Method:
    """One step of the cross-entropy baseline, on one view."""

    def losses(batch: Batch) -> Iterator[dict[str, Tensor]]:
        yield {"loss": nn.functional.cross_entropy(classify(batch.images).float(), batch.labels)}

    return losses


def _embeddings(embed: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Unit embeddings and labels of both views of the global batch, view 1 first."""
    z = distributed.gather_rows(embed(batch.images), batch.size, views=2)
    y = distributed.gather_rows(batch.labels, batch.size)
    return z, y.repeat(2)


def _pairs(z: Tensor) -> Tensor:
    """Mean cosine between the embeddings of a batch: the squared length of their mean."""
    return z.detach().mean(0).square().sum()


class Classifier(nn.Module):
    """The network's logits as a forward pass, which is what DistributedDataParallel and torch.compile wrap."""

    def __init__(self, model: CIDERNet):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, S, S) -> (N, C)."""
        return self.model.logits(images)


def first_prototypes(args: argparse.Namespace, model: CIDERNet, data: IDData, device: torch.device) -> Tensor:
    """(C, D) unit rows: class means of the ID training set (test transform), or a simplex; no test image."""
    count = len(data.class_names)
    if args.prototype_init == "simplex":
        return simplex(count, args.feat_dim, torch.Generator().manual_seed(args.seed))
    found = extract(
        model, data.train, mean=data.mean, std=data.std, device=device, batch_size=args.batch_size, workers=args.workers
    )
    return class_means(found.outputs["embedding"], data.train.labels, count)


def make_method(
    args: argparse.Namespace, model: CIDERNet, data: IDData, device: torch.device, *, resumed: bool
) -> tuple[Method, EMAPrototypes | LearnablePrototypes | None]:
    """The generator of losses of `--loss`, and its prototypes where it has some."""
    network = distributed.wrap(Classifier(model) if args.loss == "ce" else model, device, sync_bn=args.sync_bn)
    if args.compile:
        network = torch.compile(network)
    if args.loss == "ce":
        return cross_entropy_method(network), None
    if args.loss == "supcon":
        return supcon_method(network, temperature=args.temp), None
    count = len(data.class_names)
    ema = args.prototypes == "ema"
    prototypes = EMAPrototypes(count, args.feat_dim, args.proto_m) if ema else LearnablePrototypes(count, args.feat_dim)
    prototypes.to(device)
    if not resumed:
        with torch.no_grad():
            prototypes.prototypes.copy_(first_prototypes(args, model, data, device))
    return cider_method(network, prototypes, w=args.w, temperature=args.temp), prototypes


def make_batches(args: argparse.Namespace, data: IDData, device: torch.device) -> TrainBatches:
    """Two augmented views for the contrastive losses, one padded crop for cross-entropy."""
    common = dict(hflip=data.hflip, mean=data.mean, std=data.std)
    if args.loss == "ce":
        augmentation = PaddedCrop(data.size, **common)
    else:
        augmentation = TwoViews(data.size, crop_scale=data.crop_scale, **common)
    try:
        return TrainBatches(
            data.train,
            augmentation,
            batch_size=args.batch_size,
            seed=args.seed,
            device=device,
            rank=distributed.rank(),
            world_size=distributed.world_size(),
            workers=args.workers,
            channels_last=args.channels_last,
        )
    except ValueError as error:
        raise UserError(str(error)) from error


def current(prototypes: EMAPrototypes | LearnablePrototypes | None) -> Tensor | None:
    """(C, D) unit prototypes of the moment, without gradient."""
    if prototypes is None:
        return None
    with torch.no_grad():
        return prototypes.prototypes if isinstance(prototypes, EMAPrototypes) else prototypes()


def train(args: argparse.Namespace, device: torch.device) -> None:
    """Load the data, build the network, train, and print the command that evaluates it."""
    folder = RunFolder(args.checkpoints / args.in_dataset / args.name)
    data = load_id(
        args.in_dataset,
        args.id_loc,
        download=args.download,
        image_size=args.image_size,
        limit_train=args.limit_train,
        seed=args.seed,
    )
    state = saved_state(folder, args.resume, train_options.plain(args))
    if state is not None and state["finished"]:
        print(f"This run is finished. To evaluate it:\n  {evaluation_command(args, folder)}")
        return
    torch.manual_seed(args.seed)
    model = build_model(args, len(data.class_names)).to(device)
    if args.channels_last:
        model.to(memory_format=torch.channels_last)
    method, prototypes = make_method(args, model, data, device, resumed=state is not None)
    batches = make_batches(args, data, device)
    modules = {"model": model} if prototypes is None else {"model": model, "prototypes": prototypes}
    trained = [parameter for module in modules.values() for parameter in module.parameters() if parameter.requires_grad]
    monitor = HeadMonitor(
        prototypes and partial(current, prototypes), data.class_names, warmup_steps=args.warmup_epochs * len(batches)
    )
    Training(
        modules=modules,
        method=method,
        batches=batches,
        optimizer=torch.optim.SGD(
            trained,
            args.learning_rate,
            args.momentum,
            weight_decay=args.weight_decay,
            nesterov=args.momentum > 0,
            fused=device.type in ("cpu", "cuda"),
        ),
        schedule=partial(
            learning_rate,
            batches_per_epoch=len(batches),
            base_lr=args.learning_rate,
            epochs=args.epochs,
            cosine=args.cosine,
            decay_epochs=args.lr_decay_epochs,
            decay_rate=args.lr_decay_rate,
            warmup=args.warmup,
            warmup_epochs=args.warmup_epochs,
        ),
        epochs=args.epochs,
        device=device,
        args=train_options.plain(args),
        folder=folder,
        export=lambda epoch: checkpoint.official_format(
            model,
            current(prototypes),
            method=args.loss,
            epoch=epoch,
            args=train_options.plain(args),
            class_names=data.class_names,
        ),
        amp=args.amp,
        print_freq=args.print_freq,
        save_every=args.save_every,
        save_epoch=args.save_epoch,
        describe=monitor,
        evaluate=partial(knn_accuracy_every, args, model, data, device),
    ).fit(state)
    if distributed.is_main():
        print(f"Done: {folder.checkpoint(args.epochs)}\nTo evaluate it:\n  {evaluation_command(args, folder)}")


def knn_accuracy_every(
    args: argparse.Namespace, model: CIDERNet, data: IDData, device: torch.device, epoch: int
) -> dict[str, float]:
    """ID accuracy by KNN, every --eval-freq epochs and at the end; on the ID test set, for the log only."""
    if not args.eval_freq or (epoch % args.eval_freq and epoch != args.epochs):
        return {}
    return {
        "id/knn_accuracy": knn_accuracy(
            model, data.train, data.test, mean=data.mean, std=data.std, device=device, workers=args.workers
        )
    }


def evaluation_command(args: argparse.Namespace, folder: RunFolder) -> str:
    """What to type after the training."""
    return f"python eval_cider.py --ckpt {folder.checkpoint(args.epochs)}"


def main() -> None:
    args, device = parse_arguments()
    device = distributed.start(device)
    if args.deterministic:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        torch.use_deterministic_algorithms(True)
    else:
        torch.backends.cudnn.benchmark = True
    try:
        train(args, device)
    finally:
        distributed.stop()


if __name__ == "__main__":
    run_script(main)
