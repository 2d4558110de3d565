"""A run of a train script as it is, on random images of CIFAR-10's size, whose batches a benchmark hands out."""

import contextlib
import copy
import io
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

import train_cider
import train_mcd
import train_vos
from utils.cli.run import open_run
from utils.data.augment import Plain
from utils.data.batches import Batch, PairedBatches, TrainBatches
from utils.data.id_sets import IDData
from utils.data.images import TensorImages
from utils.training.loop import Training
from utils.training.recipe import ForwardPass, Losses, Recipe, Step
from utils.training.run import Run

CLASSES = 10
BATCHES = 32  # in an epoch of `fresh_batches`

Feed = Callable[["Measured"], Iterator[Batch]]


def train(feed: Feed, steps: int, device: torch.device, *options: str, method: str = "cider") -> None:
    """Train for one epoch of `steps` batches that `feed` yields; what the run writes is thrown away.

    When `feed` is asked for a batch, all that the training does for the one before is done: losses, backward pass,
    optimiser, meter, progress bar, log line.

    Args:
        options: for the train script, on top of the paper's for CIFAR-10.
        method: cider, vos with outliers from the first step on, or mcd: its fine-tuning.
    """
    # Silent, for random images draw warnings that mean nothing here.
    silence = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    with tempfile.TemporaryDirectory() as folder, silence[0], silence[1]:
        run, recipe = _METHODS[method](
            [
                *("--in-dataset", "CIFAR-10", "--epochs", "1", "--warmup", "none", "--eval-freq", "0"),
                *("--checkpoints", folder, "--name", "benchmark", "--device", str(device), *options),
            ],
            device,
        )
        torch.backends.cudnn.benchmark = True
        run.train(recipe, FedBatches(feed, Measured(run, recipe, run.batches(recipe)), steps))


def _cider(options: list[str], device: torch.device) -> tuple[Run, Recipe]:
    start = [] if "palm" in options else ["--prototype-init", "simplex"]  # or they start at the means of the noise
    args = train_cider.parse_arguments(command_line=[*start, *options])
    data = random_data(BATCHES * args.batch_size)
    return open_run(args, data, args.loss, device), train_cider.make_recipe(args, data)


def _vos(options: list[str], device: torch.device) -> tuple[Run, Recipe]:
    args = train_vos.parse_arguments(command_line=[*options, "--epochs", "2"])
    args.epochs, args.start_epoch = 1, 0  # refused on the command line, for the queues are empty then
    data = random_data(BATCHES * args.batch_size)
    recipe = train_vos.make_recipe(args, data, device)
    features = torch.randn(args.sample_number * CLASSES, recipe.model.embedding_dim).relu()
    recipe.others["queues"].update(features, torch.arange(len(features)) % CLASSES)
    return open_run(args, data, "vos", device), recipe


def _mcd(options: list[str], device: torch.device) -> tuple[Run, Recipe]:
    args, _ = train_mcd.parse_arguments(command_line=options)
    data = random_data(BATCHES * args.batch_size)
    recipe = Recipe(
        model=train_mcd.build_model(args, CLASSES),
        steps=(train_mcd.step_a, train_mcd.step_b(args.margin)),
        forward="passes",
        augmentation=Plain(data.mean, data.std),
        unlabelled=data.test,
        nesterov=False,
    )
    return open_run(args, data, "mcd", device), recipe


_METHODS = {"cider": _cider, "vos": _vos, "mcd": _mcd}


def random_data(count: int) -> IDData:
    """An ID set of noise in CIFAR-10's format."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    image_set = TensorImages("random", images, torch.randint(CLASSES, (count,), generator=generator))
    return IDData(
        name="random",
        train=image_set,
        test=image_set,
        class_names=tuple(map(str, range(CLASSES))),
        mean=(0.491, 0.482, 0.447),
        std=(0.247, 0.244, 0.262),
        size=32,
        crop_scale=(0.2, 1.0),
        hflip=True,
    )


@dataclass(frozen=True)
class Measured:
    """What a measured run may be fed with, and a step to compare it with."""

    run: Run
    recipe: Recipe
    batches: TrainBatches | PairedBatches

    def fresh_batches(self) -> Iterator[Batch]:
        """Batches of the training without end, each augmented when it is asked for."""
        epoch = 0
        while True:
            yield from self.batches.epoch(epoch)
            epoch += 1

    def bare_step(self) -> Callable[[Batch], object]:
        """The same passes through a copy of the network, with a mean as loss, the backward pass and SGD, on a batch.

        It is compiled and recorded where the run's own step is.
        """
        model = copy.deepcopy(self.recipe.model)
        passes = (_labelled, _both) if self.recipe.unlabelled else (_images,)
        bare = replace(
            self.recipe, model=model, steps=tuple(map(_mean_of, passes)), late=(), prototypes=None, others={}
        )
        training = Training(self.run, bare, ForwardPass(model.train(), bare.forward), self.batches)
        return lambda batch: training.optimisation(batch, 0.1)


def _images(network: nn.Module, batch: Batch) -> object:
    return network(batch.images)


def _labelled(network: nn.Module, batch: Batch) -> object:
    return network(batch.images, None, True)


def _both(network: nn.Module, batch: Batch) -> object:
    return network(batch.images, batch.unlabelled)


def _mean_of(forward: Step) -> Step:
    def step(network: nn.Module, batch: Batch) -> Losses:
        found = forward(network, batch)
        outputs = [found] if isinstance(found, Tensor) else list(found.values() if isinstance(found, dict) else found)
        return {"loss": sum(output.float().mean() for output in outputs)}

    return step


class FedBatches:
    """What the training loop sees in place of TrainBatches: what `feed` makes of the run's own ones."""

    def __init__(self, feed: Feed, measured: Measured, steps: int) -> None:
        self._feed, self._measured, self._steps = feed, measured, steps

    def __len__(self) -> int:
        return self._steps

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of `feed`."""
        return self._feed(self._measured)
