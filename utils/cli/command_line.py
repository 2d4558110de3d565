"""The shortest command that gives the same arguments, to be recorded with a run and typed again elsewhere."""

import argparse
import shlex
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from utils.files import REPOSITORY

# Where things lie on one machine, and what is shown or saved on the way: not what is computed.
HERE_ONLY = frozenset(
    "checkpoints id_loc ood_loc download resume save_every save_epoch print_freq eval_freq workers "
    "ckpt name epoch in_dataset out overwrite cache_dir no_cache no_plots projection projector".split()
)


def command(
    parser: argparse.ArgumentParser,
    args: argparse.Namespace,
    usual: Mapping[str, Any] | None = None,
    *,
    first: Mapping[str, Any],
    without: Collection[str] = HERE_ONLY,
) -> str:
    """`python SCRIPT --option value ...`, to be typed in the folder of the repository.

    Args:
        usual: values that options have where the command line says nothing, when they are not the parser's defaults.
        first: options that stand first, whatever their values are, None for one that is left out.
        without: options that are left out, unless they are in `first`.
    """
    words = ["python", parser.prog]
    for name, value in first.items():
        words += [] if value is None else [f"--{name.replace('_', '-')}", str(value)]
    usual = usual or {}
    done = {*first, *without}
    for action in parser._actions:
        if action.default is argparse.SUPPRESS:  # an option that ends the script
            continue
        value = getattr(args, action.dest)
        if action.dest not in done and value != usual.get(action.dest, action.default):
            words += _words(action, value)
        done.add(action.dest)
    return shlex.join(words)


def _words(action: argparse.Action, value: Any) -> list[str]:
    flag = next(each for each in action.option_strings if each.startswith("--"))
    if isinstance(action, argparse.BooleanOptionalAction):
        return [flag if value else f"--no-{flag.removeprefix('--')}"]
    if action.nargs == 0:
        return [flag]
    if isinstance(value, Path) and value.is_relative_to(REPOSITORY):
        value = value.relative_to(REPOSITORY)
    if action.nargs == "+":
        return [flag, *map(str, value)]
    return [flag, ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)]
