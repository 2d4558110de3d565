"""Runs a task in the processes of a group (gloo, CPU), which find each other by a file; and one process beside two."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from tests.training_runs import new_process
from utils.training import distributed


def in_group(rank: int, count: int, path: Path, task: Callable[[], None]) -> None:
    """Body of a process; its failure is its exit status."""
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{path / 'meeting point'}", rank=rank, world_size=count)
    task()
    dist.destroy_process_group()


def run_group(path: Path, task: Callable[[], None], count: int = 2) -> list[int | None]:
    """Run `task` in `count` processes, which may write below `path`; their exit statuses."""
    processes = [new_process(in_group, (rank, count, path, task)) for rank in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        process.kill()
        process.join()
    return [process.exitcode for process in processes]


class EvalMode(nn.Module):
    """A network's first base: batch norm with fixed statistics, in which the rows of a batch do not see each other."""

    def train(self, mode: bool = True) -> nn.Module:
        return super().train(False)


def share(count: int) -> slice:
    """Those of `count` images of a global batch that this process has."""
    rank, world_size = distributed.rank(), distributed.world_size()
    return slice(count * rank // world_size, count * (rank + 1) // world_size)


def keep(state: dict[str, Any], path: Path) -> None:
    """Save what a process has come to, for `by_one_and_by_two`."""
    torch.save(state, path / f"{distributed.rank()} of {distributed.world_size()}.pt")


def by_one_and_by_two(task: Callable[[Path], None], path: Path) -> tuple[dict[str, Any], ...]:
    """What `task(path)` keeps in a process alone, and in each of two."""
    assert run_group(path, partial(task, path)) == [0, 0]
    task(path)
    return tuple(torch.load(path / f"{name}.pt") for name in ("0 of 1", "0 of 2", "1 of 2"))


def assert_equal_tensors(one: dict[str, Any], first: dict[str, Any], second: dict[str, Any]) -> None:
    """Two processes have the same to the last bit, and one process has it but for rounding."""
    for name, value in one.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, rtol=1e-9, atol=1e-10, msg=name)
