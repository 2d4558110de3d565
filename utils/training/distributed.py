"""One process or many (torchrun): every function is a no-op on one process."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from utils.errors import UserError, note

T = TypeVar("T")


def start(device: torch.device) -> torch.device:
    """Join the process group that torchrun describes in the environment, if any; return this process's device."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return device
    if device.type == "cuda":
        place, present = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if place >= present:
            raise UserError(
                f"torchrun started {os.environ['LOCAL_WORLD_SIZE']} processes here, but there are {present} GPUs\n"
                f"  do         : torchrun --nproc_per_node={present}"
            )
        device = torch.device("cuda", place)
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return device


def stop() -> None:
    """Leave the process group."""
    if dist.is_initialized():
        dist.destroy_process_group()


@contextmanager
def processes(device: torch.device, *, deterministic: bool = False) -> Iterator[torch.device]:
    """Context of everything that trains: this process among those of torchrun, on the device that it gives."""
    device = start(device)
    if deterministic:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        torch.use_deterministic_algorithms(True)
    else:
        torch.backends.cudnn.benchmark = True
    try:
        yield device
    finally:
        stop()


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Index of this process; 0 is the one that writes."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_main() -> bool:
    """Whether this process writes files and prints."""
    return rank() == 0


def largest(value: int, device: torch.device) -> int:
    """The largest of the processes' values, known to all."""
    if world_size() == 1:
        return value
    values = torch.tensor(value, device=device)
    dist.all_reduce(values, dist.ReduceOp.MAX)
    return int(values)


def from_main(make: Callable[[], T]) -> T:
    """What `make` returns on the main process, on every process; a UserError there ends the others silently."""
    if world_size() == 1:
        return make()
    result: list[Any] = [None, None]
    if is_main():
        try:
            result[0] = make()
        except UserError as error:
            result[1] = error
    dist.broadcast_object_list(result, src=0)
    value, error = result
    if error is not None:
        raise error if is_main() else SystemExit(1)
    return value


def gather_rows(local: Tensor, global_rows: int, views: int = 1) -> Tensor:
    """Rows of all processes in the order that one process would have them: view 1 of all images, then view 2.

    Args:
        local: (views * B_local, ...) rows of this process, view 1 first; process r holds the images
            [B * r // W, B * (r + 1) // W) of a global batch of B = `global_rows` images on W processes.
    Returns:
        (views * B, ...). What comes next must be the same on all processes, up to the loss. Then the gradient that a
        process has for its own rows is complete without asking the others; times their number, it makes
        DistributedDataParallel's mean over processes the gradient of the loss on one process.
    """
    count = world_size()
    if count == 1:
        return local
    bounds = [global_rows * r // count for r in range(count + 1)]
    sizes = [high - low for low, high in zip(bounds, bounds[1:], strict=False)]
    own = local.reshape(views, -1, *local.shape[1:])
    # all_gather needs equal shapes, so shorter shares are padded and cut again.
    padding = own.new_zeros(views, max(sizes) - own.shape[1], *local.shape[1:])
    padded = torch.cat([own.detach(), padding], 1)
    parts = [torch.empty_like(padded) for _ in range(count)]
    dist.all_gather(parts, padded)
    parts = [part[:, :size] for part, size in zip(parts, sizes, strict=True)]
    if own.requires_grad:
        own.register_hook(lambda gradient: gradient * count)
        parts[rank()] = own
    return torch.cat(parts, 1).reshape(views * global_rows, *local.shape[1:])


def refuse(message: str) -> NoReturn:
    """End all processes, which find the same fault alike, with one message: a UserError on the main one."""
    raise UserError(message) if is_main() else SystemExit(1)


def check_sync_bn(device: torch.device, sync_bn: bool) -> None:
    """Refuse SyncBatchNorm on CPUs, which PyTorch does not have; say where it has nothing to do."""
    if sync_bn and device.type != "cuda":
        refuse("--sync-bn works on GPUs only; leave it out on the CPU, where each process has its own statistics")
    if sync_bn and world_size() == 1:
        note("--sync-bn has nothing to do in one process: its statistics are the batch's")


def wrap(model: nn.Module, *, sync_bn: bool) -> nn.Module:
    """`model` itself on one process; on many in DistributedDataParallel, on request with SyncBatchNorm (GPUs only)."""
    if world_size() == 1:
        return model
    if sync_bn:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return nn.parallel.DistributedDataParallel(model)
