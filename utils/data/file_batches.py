"""Batches of image files, read by processes that live on from one pass to the next."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from utils.errors import UserError


class FileBatches:
    """Reads image files.

    Args:
        read: what makes a tensor of an image's key, in the workers. UserError: the file cannot be read.
        workers: processes; 0 reads in this one.    device: where the batches go.
    """

    def __init__(self, read: Callable[[Any], Tensor], *, workers: int, device: torch.device) -> None:
        self._device = device
        self._keys: list[Sequence[Any]] = []  # the loader's own, filled before each pass
        self._loader = DataLoader(
            _Readable(read),
            batch_sampler=self._keys,
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=_stacked_or_fault,
            worker_init_fn=_leave_process_group,
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # the default one, which a training draws from, would be advanced
        )

    def read(self, batches: Sequence[Sequence[Any]]) -> Iterator[Tensor]:
        """The images with these keys, batch by batch. UserError: a file cannot be read."""
        self._keys[:] = batches
        for batch in self._loader:
            if isinstance(batch, str):
                raise UserError(batch)
            yield batch.to(self._device, non_blocking=True)


class _Readable(Dataset):
    def __init__(self, read: Callable[[Any], Tensor]) -> None:
        self._read = read

    def __getitem__(self, key: Any) -> Tensor | str:
        # An exception raised in a worker arrives with its traceback inside the message, so the fault travels as text.
        try:
            return self._read(key)
        except UserError as error:
            return str(error)


def _stacked_or_fault(items: list[Tensor | str]) -> Tensor | str:
    faults = [item for item in items if isinstance(item, str)]
    return faults[0] if faults else torch.stack(items)


def _leave_process_group(worker: int) -> None:
    """In a loader process: do not get the Ctrl-C or SIGTERM that a terminal or shell sends to the whole group.

    The main process finishes its step and saves, for which it needs the loaders; they end when it does.
    """
    os.setpgrp()
