"""The device of a script."""

import argparse

import torch

from utils.errors import WrongUsage, one_line


def choose_device(args: argparse.Namespace) -> torch.device:
    """The device that --device or --gpu names.

    Raises:
        WrongUsage: it is not there.
    """
    name = args.device or (f"cuda:{args.gpu}" if args.gpu is not None else None)
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise WrongUsage(
            f"--device {name} can not be used here ({one_line(error)}); --device cpu always works"
        ) from error
    return device
