"""Training batches: order, augmentation and the share of each process, resumable at any batch."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from utils.data.augment import Plain
from utils.data.images import FileImages, ImageSet, TensorImages, leave_process_group, read_image
from utils.data.order import batch_generator, epoch_order, image_generator
from utils.errors import UserError


@dataclass(frozen=True)
class Batch:
    """One process's share of a batch.

    Attributes:
        images: (V*B, 3, S, S) float32, normalised; view 1 of all images first, then view 2.
        labels: (B,) int64.
        size: images in the batch over all processes.
        epoch, index: the batch is number `index` of epoch `epoch`, both counted from 0.
    """

    images: Tensor
    labels: Tensor
    size: int
    epoch: int
    index: int


class TrainBatches:
    """The training batches of a set of images.

    Images in memory are copied to `device` once, as uint8. Image files are decoded and cropped by `workers` processes.
    What comes out depends on `seed`, epoch and position in the epoch alone: not on the number of workers or processes,
    nor on the batch at which an epoch is entered.

    Args:
        image_set: TensorImages or FileImages with labels.
        augmentation: from utils.data.augment.
        batch_size: images in a batch over all processes; the last batch of an epoch may be smaller and is kept.
        rank, world_size: of B images this process gets [B * rank // world_size, B * (rank + 1) // world_size).
        workers: loader processes for image files; they live as long as this object.
        channels_last: memory format of the images.
    Raises:
        ValueError: no labels, an augmentation for another size, a batch size that leaves a process without images.
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
    ) -> None:
        if image_set.labels is None:
            raise ValueError(f"{image_set.name}: no labels to train with")
        if augmentation.size not in (None, image_set.size):
            raise ValueError(f"{image_set.name}: images of size {image_set.size}, augmentation for {augmentation.size}")
        smallest = len(image_set) % batch_size or batch_size
        if smallest < world_size:
            raise ValueError(f"{image_set.name}: a batch of {smallest} images for {world_size} processes")
        self.augmentation = augmentation
        self.batch_size = batch_size
        self.seed = seed
        self.device = torch.device(device)
        self.rank = rank
        self.world_size = world_size
        self.channels_last = channels_last
        self.count = len(image_set)
        self.labels = image_set.labels.to(self.device)
        if isinstance(image_set, TensorImages):
            self.images: Tensor | None = image_set.images.to(self.device)
            self.loader = None
        elif isinstance(image_set, FileImages):
            self.images = None
            self.shares = _Shares()
            self.loader = DataLoader(
                _AugmentedFiles(image_set, augmentation, seed),
                batch_sampler=self.shares,
                num_workers=workers,
                persistent_workers=workers > 0,
                collate_fn=_collate_or_fault,
                worker_init_fn=leave_process_group,
                pin_memory=self.device.type == "cuda",
                generator=torch.Generator(),  # the default one would be advanced with every epoch
            )
        else:
            raise TypeError(f"cannot train on a {type(image_set).__name__}")

    def __len__(self) -> int:
        """Batches of an epoch."""
        return -(-self.count // self.batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from number `start` on, the same ones as when the epoch is run from its beginning."""
        order = epoch_order(self.seed, epoch, self.count)
        order_on_device = order.to(self.device)
        files = self._file_batches(epoch, order, start)
        for index in range(start, len(self)):
            begin, first, last, end = self._share(index)
            chosen = order_on_device[first:last]
            with torch.no_grad():
                images = next(files) if self.images is None else self.images.index_select(0, chosen)
                params = self.augmentation.draw(end - begin, batch_generator(self.seed, epoch, index))
                views = self.augmentation.apply(images, params[:, first - begin : last - begin], self.channels_last)
            yield Batch(views, self.labels.index_select(0, chosen), end - begin, epoch, index)

    def _share(self, index: int) -> tuple[int, int, int, int]:
        """Positions in the epoch: begin of the batch, first and behind the last of this process, end of the batch."""
        begin = index * self.batch_size
        end = min(begin + self.batch_size, self.count)
        size = end - begin
        first = begin + size * self.rank // self.world_size
        last = begin + size * (self.rank + 1) // self.world_size
        return begin, first, last, end

    def _file_batches(self, epoch: int, order: Tensor, start: int) -> Iterator[Tensor]:
        if self.loader is None:
            return
        places = order.tolist()
        self.shares.keys = [
            [(epoch, position, places[position]) for position in range(*self._share(index)[1:3])]
            for index in range(start, len(self))
        ]
        for batch in self.loader:
            if isinstance(batch, str):
                raise UserError(batch)
            yield batch.to(self.device, non_blocking=True)


class _Shares:
    """Batch sampler whose keys are replaced before each epoch, so that the workers can live on."""

    def __init__(self) -> None:
        self.keys: list[list[tuple[int, int, int]]] = []

    def __iter__(self) -> Iterator[list[tuple[int, int, int]]]:
        return iter(self.keys)

    def __len__(self) -> int:
        return len(self.keys)


class _AugmentedFiles(Dataset):
    def __init__(self, image_set: FileImages, augmentation: Plain, seed: int) -> None:
        self.paths = image_set.paths
        self.size = image_set.size
        self.augmentation = augmentation
        self.seed = seed

    def __getitem__(self, key: tuple[int, int, int]) -> Tensor | str:
        epoch, position, index = key
        # An exception raised in a worker arrives with its traceback inside the message, so the fault travels as text.
        try:
            image = read_image(self.paths[index])
        except UserError as error:
            return str(error)
        return self.augmentation.from_file(image, self.size, image_generator(self.seed, epoch, position))


def _collate_or_fault(items: list[Tensor | str]) -> Tensor | str:
    faults = [item for item in items if isinstance(item, str)]
    return faults[0] if faults else torch.stack(items)
