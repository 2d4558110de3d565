"""Runs a task in the processes of a group (gloo, CPU), which find each other by a file."""

import os
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from training_runs import new_process


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
