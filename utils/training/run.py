"""What the train scripts share around their method: data, resume, optimiser, schedule, loop and the closing line."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from utils import checkpoint
from utils.cli import train as train_options
from utils.cli.settings import folder_batches
from utils.data.augment import Plain
from utils.data.batches import TrainBatches
from utils.data.id_sets import IDData, load_id
from utils.data.images import ImageSet
from utils.errors import UserError
from utils.evaluation.collapse import collapse, collapse_warning
from utils.evaluation.quick import knn_accuracy
from utils.files import typed
from utils.training import distributed
from utils.training.loop import Method, Training
from utils.training.random_state import seed_all
from utils.training.resume import saved_state
from utils.training.run_folder import RunFolder
from utils.training.schedule import learning_rate


class TrainRun:
    """One run of a train script, from its checked arguments to the last checkpoint.

    Args:
        data: the ID set, where it is loaded already.
        facts: what makes the run what it is beside its arguments; saved and compared with them.
    Attributes:
        data: the ID set. state: the saved state to go on from, or None. finished: there is nothing left to do.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        device: torch.device,
        *,
        data: IDData | None = None,
        facts: Mapping[str, Any] | None = None,
    ):
        self.args, self.device = args, device
        self.folder = run_folder(args)
        self.data = data or load_data(args)
        # Other images are another run, so their number and classes are compared on resume like arguments.
        facts = {
            "train_images": len(self.data.train),
            "class_names": list(self.data.class_names),
            **(facts or {}),
        }
        self.plain_args = {**train_options.recorded(args), **facts}
        self.key_arguments = {**train_options.key_arguments(args), **facts}
        self.state = distributed.from_main(self._open_folder)
        self.finished = (
            self.state is not None and self.state["finished"] and self.folder.checkpoint(args.epochs).exists()
        )
        self.last_accuracy: float | None = None
        seed_all(args.seed)

    def _open_folder(self) -> dict[str, Any] | None:
        self.folder.lock()
        return saved_state(self.folder, self.args.resume, self.key_arguments)

    def place(self, model: nn.Module) -> nn.Module:
        """Move a network to the device of the run, in the memory format of the run."""
        model.to(self.device)
        return model.to(memory_format=torch.channels_last) if self.args.channels_last else model

    def wrap(self, network: nn.Module) -> nn.Module:
        """The forward pass to train with: over all processes, compiled where asked for."""
        network = distributed.wrap(network, self.device, sync_bn=self.args.sync_bn)
        return torch.compile(network) if self.args.compile else network

    def batches(self, augmentation: Plain, images: ImageSet | None = None) -> TrainBatches:
        """This process's share of the batches of ID train, or of other images, which may be fewer than a batch."""
        batch_size = self.args.batch_size
        if images is None:
            images = self.data.train
        else:
            batch_size = min(batch_size, len(images))
        try:
            return TrainBatches(
                images,
                augmentation,
                batch_size=batch_size,
                seed=self.args.seed,
                device=self.device,
                rank=distributed.rank(),
                world_size=distributed.world_size(),
                workers=self.args.workers,
                channels_last=self.args.channels_last,
            )
        except ValueError as error:
            raise UserError(str(error)) from error

    def fit(
        self,
        model: nn.Module,
        method: Method,
        batches: TrainBatches,
        *,
        name: str,
        others: Mapping[str, nn.Module] | None = None,
        prototypes: Callable[[], Tensor | None] = lambda: None,
        describe: Callable[[dict[str, float], int], dict[str, float]] = lambda means, step: means,
        cosine_to: float | None = None,
        late: Sequence[nn.Parameter] = (),
        nesterov: bool = True,
        evaluate: Callable[[int], dict[str, float]] = lambda epoch: {},
        amend: Callable[[dict[str, Any]], dict[str, Any]] = lambda content: content,
    ) -> None:
        """Train to the last epoch and say how to evaluate.

        Args:
            name: of the method, as checkpoints record it.
            others: further modules that are trained, saved and restored with the model.
            prototypes, describe: the prototypes that go into checkpoints; see Training for describe.
            cosine_to: see `learning_rate`.
            late: parameters of these modules whose first gradient comes later than that of the others.
            nesterov: momentum of that kind.
            evaluate: epochs done -> further figures for the line at the end of that epoch.
            amend: the last word on what a checkpoint holds.
        """
        args = self.args
        modules = {"model": model, **(others or {})}
        Training(
            modules=modules,
            method=method,
            batches=batches,
            optimizer=self._optimizer(modules, late, nesterov),
            schedule=self._schedule(len(batches), cosine_to),
            epochs=args.epochs,
            device=self.device,
            args=self.plain_args,
            folder=self.folder,
            export=lambda epoch: amend(self._content(model, prototypes(), name, epoch)),
            amp=args.amp,
            print_freq=args.print_freq,
            save_every=args.save_every,
            save_epoch=args.save_epoch,
            describe=describe,
            evaluate=lambda epoch: {**self._id_accuracy(model, epoch), **evaluate(epoch)},
        ).fit(self.state)
        self._warn_of_collapse(prototypes())
        self.say_what_next()

    def _warn_of_collapse(self, prototypes: Tensor | None) -> None:
        """Say it loudly where the run is worth nothing, before its evaluation does."""
        fault = collapse(len(self.data.class_names), self.last_accuracy, prototypes)
        if fault and distributed.is_main():
            print(collapse_warning(fault, vars(self.args)), file=sys.stderr)

    def say_what_next(self) -> None:
        """Print the command that evaluates the finished run."""
        if distributed.is_main():
            path = self.folder.checkpoint(self.args.epochs)
            print(f"Finished: {path}\nTo evaluate it:\n  {typed('eval_cider.py')} --ckpt {path}")

    def _schedule(self, batches_per_epoch: int, cosine_to: float | None) -> Callable[[int, int], float]:
        args = self.args
        return partial(
            learning_rate,
            batches_per_epoch=batches_per_epoch,
            base_lr=args.learning_rate,
            epochs=args.epochs,
            cosine=args.cosine,
            decay_epochs=args.lr_decay_epochs,
            decay_rate=args.lr_decay_rate,
            warmup=args.warmup,
            warmup_epochs=args.warmup_epochs,
            cosine_to=cosine_to,
        )

    def _content(self, model: nn.Module, prototypes: Tensor | None, name: str, epoch: int) -> dict[str, Any]:
        """What a checkpoint holds."""
        data = self.data
        return checkpoint.official_format(
            model,
            prototypes,
            method=name,
            epoch=epoch,
            # What a new image must be made into before the network can look at it.
            args={**self.plain_args, "input": {"size": data.size, "mean": data.mean, "std": data.std}},
            class_names=data.class_names,
        )

    def _optimizer(
        self, modules: Mapping[str, nn.Module], late: Sequence[nn.Parameter], nesterov: bool
    ) -> torch.optim.SGD:
        trained = [p for module in modules.values() for p in module.parameters() if p.requires_grad]
        apart = {id(parameter) for parameter in late}
        # The fused SGD can not do with a momentum that only some parameters of a group have.
        groups = [[p for p in trained if id(p) not in apart], [p for p in trained if id(p) in apart]]
        return torch.optim.SGD(
            [{"params": group} for group in groups if group],
            self.args.learning_rate,
            self.args.momentum,
            weight_decay=self.args.weight_decay,
            nesterov=nesterov and self.args.momentum > 0,
            fused=self.device.type in ("cpu", "cuda"),
        )

    def _id_accuracy(self, model: nn.Module, epoch: int) -> dict[str, Any]:
        """ID accuracy by KNN every --eval-freq epochs and at the end; it goes into the log and decides nothing."""
        if not self.args.eval_freq:
            return {}
        if epoch % self.args.eval_freq and epoch != self.args.epochs:
            return {"id/knn_accuracy": None}
        data = self.data
        found = knn_accuracy(
            model, data.train, data.test, mean=data.mean, std=data.std, device=self.device, workers=self.args.workers
        )
        self.last_accuracy = found
        return {"id/knn_accuracy": found}


def run_folder(args: argparse.Namespace) -> RunFolder:
    """Where the run with these arguments is, whether or not it has begun."""
    return RunFolder(args.checkpoints / args.in_dataset / args.name)


def load_data(args: argparse.Namespace) -> IDData:
    """The ID set of a run; its notes are printed."""
    load = partial(
        load_id,
        args.in_dataset,
        args.id_loc,
        download=args.download,
        image_size=args.image_size,
        limit_train=args.limit_train,
        seed=args.seed,
    )
    if args.download and distributed.world_size() > 1:
        distributed.from_main(lambda: len(load().train))  # one process downloads, then all find it
    data = load()
    if distributed.is_main():
        for note in (*args.notes, *data.notes):
            print(f"note: {note}", file=sys.stderr)
    return data


def settle_batches(args: argparse.Namespace, method: str, data: IDData) -> None:
    """Fill in batch size and learning rate where they follow from the number of images, and say them."""
    if args.batch_size is not None and args.learning_rate is not None:
        return
    train_options.fill_in(args, folder_batches(method, len(data.train), args.batch_size))
    if distributed.is_main():
        print(
            f"{len(data.train):,} training images: batch size {args.batch_size}, learning rate {args.learning_rate:g}"
        )


def run_training(
    parse_arguments: Callable[[], tuple[argparse.Namespace, torch.device]],
    train: Callable[[TrainRun], None],
    method: str = "cider",
) -> None:
    """Body of a train script: arguments, device, processes, and `train` unless the run is finished already.

    Args:
        method: of utils.cli.settings.FOLDER_RATES.
    """
    args, device = parse_arguments()
    with processes(args, device) as device:
        data = load_data(args)
        settle_batches(args, method, data)
        run = TrainRun(args, device, data=data)
        if run.finished:
            run.say_what_next()
        else:
            train(run)


@contextmanager
def processes(args: argparse.Namespace, device: torch.device) -> Iterator[torch.device]:
    """Context of everything that trains: this process among those of torchrun, on the device that it gives."""
    device = distributed.start(device)
    if args.deterministic:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        torch.use_deterministic_algorithms(True)
    else:
        torch.backends.cudnn.benchmark = True
    try:
        yield device
    finally:
        distributed.stop()
