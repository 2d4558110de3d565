"""Training batches of image files, decoded and cropped by processes that live on from epoch to epoch."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from utils.data.augment import Plain
from utils.data.images import FileImages, leave_process_group, read_image
from utils.data.order import image_generator
from utils.errors import UserError

Key = tuple[int, int, int]  # epoch, position in it, number of the file


class FileBatches:
    """Reads image files for an augmentation.

    Args:
        seed: of the crops, with epoch and position.    workers: processes; 0 reads in this one.
        device: where the batches go.
    """

    def __init__(
        self, image_set: FileImages, augmentation: Plain, *, seed: int, workers: int, device: torch.device
    ) -> None:
        self._device = device
        self._keys: list[Sequence[Key]] = []  # the loader's own, filled before each epoch
        self._loader = DataLoader(
            _AugmentedFiles(image_set, augmentation, seed),
            batch_sampler=self._keys,
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=_collate_or_fault,
            worker_init_fn=leave_process_group,
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # the default one would be advanced with every epoch
        )

    def read(self, batches: Sequence[Sequence[Key]]) -> Iterator[Tensor]:
        """The images of batches, as `from_file` of the augmentation makes them. UserError: a file cannot be read."""
        self._keys[:] = batches
        for batch in self._loader:
            if isinstance(batch, str):
                raise UserError(batch)
            yield batch.to(self._device, non_blocking=True)


class _AugmentedFiles(Dataset):
    def __init__(self, image_set: FileImages, augmentation: Plain, seed: int) -> None:
        self.paths = image_set.paths
        self.size = image_set.size
        self.augmentation = augmentation
        self.seed = seed

    def __getitem__(self, key: Key) -> Tensor | str:
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
