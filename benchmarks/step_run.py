"""A run of train_cider.py as it is, on random images of CIFAR-10's size, whose batches a benchmark hands out."""

import argparse
import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator

import torch

import train_cider
from utils.cli.run import open_run
from utils.data.batches import Batch, TrainBatches
from utils.data.id_sets import IDData
from utils.data.images import TensorImages
from utils.training.precision import Precision

CLASSES = 10
BATCHES = 32  # in an epoch of `fresh_batches`

Feed = Callable[["MeasuredStep"], Iterator[Batch]]


def train(feed: Feed, steps: int, device: torch.device, *options: str) -> None:
    """Train for one epoch of `steps` steps on the batches that `feed` yields; what the run writes is thrown away.

    When `feed` is asked for a batch, all that the training does for the one before is done: losses, backward pass,
    optimiser, meter, progress bar, log line.

    Args:
        options: for train_cider.py, on top of the paper's for CIFAR-10.
    """
    # Silent, for random images draw warnings that mean nothing here.
    silence = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    with tempfile.TemporaryDirectory() as folder, silence[0], silence[1]:
        args = train_cider.parse_arguments(
            command_line=[
                *("--in-dataset", "CIFAR-10", "--epochs", "1", "--warmup", "none", "--prototype-init", "simplex"),
                *("--eval-freq", "0", "--checkpoints", folder, "--name", "benchmark", "--device", str(device)),
                *options,
            ]
        )
        torch.backends.cudnn.benchmark = True
        data = random_data(args.batch_size)
        run = open_run(args, data, args.loss, device)
        recipe = train_cider.make_recipe(args, data)
        run.train(recipe, FedBatches(feed, MeasuredStep(args, run.batches(recipe), device), steps))


def random_data(batch_size: int) -> IDData:
    """An ID set of noise in CIFAR-10's format, of BATCHES batches."""
    generator = torch.Generator().manual_seed(0)
    count = BATCHES * batch_size
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


class MeasuredStep:
    """What a measured run may be fed with, and a step to compare it with."""

    def __init__(self, args: argparse.Namespace, batches: TrainBatches, device: torch.device) -> None:
        self.args, self.batches, self.device = args, batches, device

    def fresh_batches(self) -> Iterator[Batch]:
        """Batches of the training without end, each augmented when it is asked for."""
        epoch = 0
        while True:
            yield from self.batches.epoch(epoch)
            epoch += 1

    def bare_step(self) -> Callable[[], None]:
        """The same network's forward pass, a plain mean as loss, backward pass and SGD, on a batch that is ready."""
        args = self.args
        layout = torch.channels_last if args.channels_last else torch.contiguous_format
        network = train_cider.build_model(args, CLASSES).train().to(self.device, memory_format=layout)
        optimizer = torch.optim.SGD(
            [parameter for parameter in network.parameters() if parameter.requires_grad],
            args.learning_rate,
            args.momentum,
            weight_decay=args.weight_decay,
            nesterov=True,
            fused=True,
        )
        network = torch.compile(network) if args.compile else network
        precision = Precision(args.amp, self.device)
        images = torch.randn(2 * args.batch_size, 3, 32, 32, device=self.device).to(memory_format=layout)

        def step() -> None:
            with precision.autocast():
                loss = network(images).mean()
            precision.step(loss, optimizer)

        return step


class FedBatches:
    """What the training loop sees in place of TrainBatches: what `feed` makes of the run's own ones."""

    def __init__(self, feed: Feed, measured: MeasuredStep, steps: int) -> None:
        self._feed, self._measured, self._steps = feed, measured, steps

    def __len__(self) -> int:
        return self._steps

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of `feed`."""
        return self._feed(self._measured)
