"""From the arguments of a train script to its data and its run."""

import argparse
import os
import shlex
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from utils.cli.record import key_arguments, recorded
from utils.cli.settings import folder_batches
from utils.cli.train import fill_in
from utils.data.id_sets import IDData, load_id
from utils.errors import note
from utils.files import file_sha256
from utils.training import distributed
from utils.training.run import Run
from utils.training.settings import RunSettings

# Bytes in the name of a folder, on all usual file systems.
LONGEST_NAME = 255


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
        for text in (*args.notes, *data.notes):
            note(text)
    return data


def settle_batches(args: argparse.Namespace, rates: str, data: IDData) -> None:
    """Fill in batch size and learning rate where they follow from the number of images, and say them.

    Args:
        rates: of utils.cli.settings.FOLDER_RATES.
    """
    if args.batch_size is not None and args.learning_rate is not None:
        return
    images = len(data.train)
    fill_in(args, folder_batches(rates, images, args.batch_size))
    if distributed.is_main():
        print(f"{images:,} training images: batch size {args.batch_size}, learning rate {args.learning_rate:g}")


def run_path(args: argparse.Namespace) -> Path:
    """Folder of the run with these arguments, whether or not it has begun."""
    return args.checkpoints / args.in_dataset / args.name


def open_run(
    args: argparse.Namespace,
    data: IDData,
    method: str,
    device: torch.device,
    facts: Mapping[str, Any] | None = None,
) -> Run:
    """The run that these arguments ask for, whether it is new, interrupted or finished.

    Args:
        facts: what makes it what it is beside its arguments; their names stand in utils.cli.config.FACTS.
    """
    if len(os.fsencode(args.name)) > LONGEST_NAME:  # of many settings, or of a start from a start from a start
        distributed.refuse(f"the run's name is too long for a folder: {args.name}\n  do         : give it a --name")
    # Other images or other weights to start from are another run, so they are compared on resume like arguments.
    facts = {
        "train_images": len(data.train),
        "class_names": list(data.class_names),
        "init_weights": file_sha256(args.init_from) if args.init_from else None,
        **(facts or {}),
    }
    return Run(
        run_path(args),
        RunSettings.of(vars(args)),
        device,
        method=method,
        data=data,
        record={**recorded(args), **facts},
        key={**key_arguments(args), **facts},
        again=command_to_go_on(),
    )


def command_to_go_on() -> str:
    """The shell command that started this process, for any folder, with --resume left to its default."""
    arguments = iter(sys.argv)
    kept = []
    for argument in arguments:
        if argument == "--resume":
            next(arguments, None)
        elif not argument.startswith("--resume="):
            kept.append(argument)
    launcher = [sys.executable]
    if "TORCHELASTIC_RUN_ID" in os.environ:
        processes = f"--nproc_per_node={os.environ['LOCAL_WORLD_SIZE']}"
        launcher += ["-m", "torch.distributed.run", "--standalone", processes]
    return f"cd {shlex.quote(os.getcwd())} && {shlex.join([*launcher, *kept])}"
