"""Training batches: order, augmentation and the share of each process, resumable at any batch."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate

import torch
from torch import Tensor

from utils.data.augment import Plain
from utils.data.file_batches import FileBatches
from utils.data.images import FileImages, ImageSet, TensorImages, read_image
from utils.data.order import augmentation_generator, batch_sizes, epoch_order, image_generator
from utils.outliers import NoiseOfSteps

# Pixels of views that a GPU makes at once where nothing is compiled: four of CIFAR-10's batches of 512 images in two
# views. One batch would take longer to start than to make; four take 50 MB for each step between images and views.
PIXELS_AT_ONCE = 4 * 512 * 2 * 32 * 32


@dataclass(frozen=True)
class Batch:
    """One process's share of a batch.

    Attributes:
        images: (V*B, 3, S, S) float32, normalised; view 1 of all images first, then view 2.
        labels: (B,) int64.
        size: images in the batch over all processes.
        epoch, index: the batch is number `index` of epoch `epoch`, both counted from 0.
        noise: random numbers for the step, the same in all processes; None where there are none.
        unlabelled: (U, 3, S, S) other images without labels, of which all processes have `unlabelled_size`.
    """

    images: Tensor
    labels: Tensor
    size: int
    epoch: int
    index: int
    noise: Tensor | None = None
    unlabelled: Tensor | None = None
    unlabelled_size: int = 0

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of the batch by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}


class TrainBatches:
    """The training batches of a set of images.

    Images in memory are copied to `device` once, as uint8. Image files are decoded and cropped by `workers` processes.
    What comes out depends on `seed`, epoch and position in the epoch alone: not on the number of workers or processes,
    nor on the batch at which an epoch is entered.

    Args:
        image_set: TensorImages or FileImages with labels.
        augmentation: from utils.data.augment.
        batch_size: images in a batch over all processes; a smaller rest at the end of an epoch is a batch as well, but
            for a single image, which joins the batch before it.
        drop_rest: leave the rest out instead.
        noise: random numbers that go with each batch.
        rank, world_size: of B images this process gets [B * rank // world_size, B * (rank + 1) // world_size).
        workers: loader processes for image files; they live as long as this object.
        channels_last: memory format of the images.
        compiled: compile the augmentation of full batches on a GPU.
    Raises:
        ValueError: no labels, an augmentation for another size, a batch that leaves a process without two rows, which
            batch norm needs.
        UserError: while iterating, an image file cannot be read; it is named.
    """

    def __init__(
        self,
        image_set: ImageSet,
        augmentation: Plain,
        *,
        batch_size: int,
        seed: int,
        device: torch.device | str,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
        channels_last: bool = False,
        drop_rest: bool = False,
        noise: NoiseOfSteps | None = None,
        compiled: bool = False,
    ) -> None:
        if image_set.labels is None:
            raise ValueError(f"{image_set.name}: no labels to train with")
        if augmentation.size not in (None, image_set.size):
            raise ValueError(f"{image_set.name}: images of size {image_set.size}, augmentation for {augmentation.size}")
        count = len(image_set) // batch_size * batch_size if drop_rest else len(image_set)
        sizes = batch_sizes(count, batch_size)
        if not _suffices(sizes, augmentation.views, world_size):
            raise ValueError(_too_small(image_set.name, len(image_set), sizes, augmentation.views, world_size))
        self.augmentation = augmentation
        self.noise = noise
        self.sizes = sizes
        self.bounds = [0, *accumulate(sizes)]
        self.seed = seed
        self.device = torch.device(device)
        self.rank = rank
        self.world_size = world_size
        self.channels_last = channels_last
        self.count = len(image_set)
        self._drawn: dict[int, Tensor] = {}
        self._augment_full = augmentation.apply
        self._together = 1  # batches whose views are made at once
        if self.device.type == "cuda" and compiled:  # on the CPU the views are treated by kind, which no compiler can
            self._augment_full = torch.compile(augmentation.apply, dynamic=False)
        elif self.device.type == "cuda" and isinstance(image_set, TensorImages):
            pixels = augmentation.views * sizes[0] // world_size * image_set.size**2
            self._together = max(1, PIXELS_AT_ONCE // pixels)
        self.labels = image_set.labels.to(self.device)
        self.images: Tensor | None = None
        if isinstance(image_set, TensorImages):
            self.images = image_set.images.to(self.device)
        else:
            read = partial(_read, image_set, augmentation, seed)
            self._files = FileBatches(read, workers=workers, device=self.device)

    def __len__(self) -> int:
        """Batches of an epoch."""
        return len(self.sizes)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from number `start` on, the same ones as when the epoch is run from its beginning."""
        order = epoch_order(self.seed, epoch, self.count).to(self.device)
        views = self._views(epoch, order, start)
        for index in range(start, len(self)):
            labels = self.labels.index_select(0, order[self._share(index)])
            noise = self.noise and self.noise.of(epoch, index)
            yield Batch(next(views), labels, self.sizes[index], epoch, index, noise)
            if index == len(self) // 2:
                self._parameters(epoch + 1)  # now, while a GPU has work: at the end of an epoch it has none

    @torch.no_grad()
    def _views(self, epoch: int, order: Tensor, start: int) -> Iterator[Tensor]:
        """The views of each batch from number `start` on, made for `_together` batches at once."""
        params, files = self._parameters(epoch), self._file_batches(epoch, start)
        # In the same groups wherever the epoch is entered, for the number of rows may decide their last digits.
        for number in range(start - start % self._together, len(self), self._together):
            rows = [self._share(index) for index in range(number, min(number + self._together, len(self)))]
            chosen, drawn = torch.cat([order[each] for each in rows]), torch.cat([params[:, each] for each in rows], 1)
            images = next(files) if self.images is None else self.images.index_select(0, chosen)
            full = self.sizes[number] == self.sizes[0]
            augment = self._augment_full if full else self.augmentation.apply
            views = augment(images, drawn, self.channels_last)
            if self._together == 1:
                yield views
                continue
            sizes = [each.stop - each.start for each in rows]
            batches = zip(*(view.split(sizes) for view in views.chunk(self.augmentation.views)), strict=True)
            yield from map(torch.cat, list(batches)[max(start - number, 0) :])

    def _parameters(self, epoch: int) -> Tensor:
        """What is random about the augmentation of an epoch, by position in it, on the device: (views, count, P)."""
        self._drawn = {number: params for number, params in self._drawn.items() if number in (epoch - 1, epoch)}
        if epoch not in self._drawn:
            generator = augmentation_generator(self.seed, epoch)
            self._drawn[epoch] = self.augmentation.draw(self.count, generator, self.device)
        return self._drawn[epoch]

    def _share(self, index: int) -> slice:
        """Positions in the epoch of those images of a batch that this process has."""
        begin, size = self.bounds[index], self.sizes[index]
        first, last = (begin + size * rank // self.world_size for rank in (self.rank, self.rank + 1))
        return slice(first, last)

    def _file_batches(self, epoch: int, start: int) -> Iterator[Tensor]:
        keys = [(epoch, *place) for place in enumerate(epoch_order(self.seed, epoch, self.count).tolist())]
        yield from self._files.read([keys[self._share(index)] for index in range(start, len(self))])


class PairedBatches:
    """Labelled batches, each with an unlabelled one: an epoch is a pass over the labelled images.

    The unlabelled images are passed over again and again in a new order each time, whatever the epoch. Their batches
    are whole ones: what is left over at the end of a pass waits for another. Which two batches meet depends on the
    number of the step alone, so an epoch can be entered at any batch.

    Args:
        labelled: TrainBatches.    unlabelled: others, which drop their rest.
    """

    def __init__(self, labelled: TrainBatches, unlabelled: TrainBatches) -> None:
        self.labelled, self.unlabelled = labelled, unlabelled

    def __len__(self) -> int:
        """Steps of an epoch."""
        return len(self.labelled)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The pairs of an epoch from number `start` on, the same ones as when the epoch is run from its beginning."""
        others = self._others(epoch * len(self) + start)
        for batch in self.labelled.epoch(epoch, start):
            other = next(others)
            yield replace(batch, unlabelled=other.images, unlabelled_size=other.size)

    def _others(self, step: int) -> Iterator[Batch]:
        """The unlabelled batches from a step of the training on, without end."""
        number, start = divmod(step, len(self.unlabelled))
        while True:
            yield from self.unlabelled.epoch(number, start)
            number, start = number + 1, 0


def _read(images: FileImages, augmentation: Plain, seed: int, key: tuple[int, int, int]) -> Tensor:
    """What the augmentation makes of a file, whose key is the epoch, the position in it, and the number of the file."""
    epoch, position, number = key
    return augmentation.from_file(read_image(images.paths[number]), images.size, image_generator(seed, epoch, position))


def _suffices(sizes: list[int], views: int, world_size: int) -> bool:
    """Whether each process has two rows of the smallest batch."""
    return bool(sizes) and min(sizes) // world_size * views >= 2


def _too_small(name: str, count: int, sizes: list[int], views: int, world_size: int) -> str:
    """The message about a batch that is too small for its processes, with the nearest batch size that is not."""
    several = world_size > 1
    found = f"{name}: a batch of {min(sizes, default=0)} images for {world_size} process{'es' * several} is too small"
    near = sorted(range(2, count + 1), key=lambda size: (abs(size - sizes[0]), size))
    fitting = next((size for size in near if _suffices(batch_sizes(count, size), views, world_size)), None)
    if fitting is None:
        return f"{found}\n  do         : take fewer processes, or more than {count} images"
    return f"{found}\n  do         : pass --batch-size {fitting}{', or take fewer processes' * several}"
