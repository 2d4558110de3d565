"""The device of a script."""

import argparse

import torch

from utils.cli.parser import OptionParser
from utils.errors import one_line


def choose_device(parser: OptionParser, args: argparse.Namespace) -> torch.device:
    """The device that --device or --gpu names, checked to exist; ends the script with status 2 where it does not."""
    if args.gpu is not None and args.device is not None:
        parser.error("--gpu N is --device cuda:N; give one of the two")
    name = args.device or (f"cuda:{args.gpu}" if args.gpu is not None else None)
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        parser.error(f"--device {name} can not be used here ({one_line(error)}); --device cpu always works")
    return device
