"""The shortest command that gives the same arguments, to be recorded with a run and typed again elsewhere."""

import argparse
import shlex
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from utils.cli.parser import OptionParser, Role
from utils.files import REPOSITORY


def command(
    parser: OptionParser,
    args: argparse.Namespace,
    usual: Mapping[str, Any] | None = None,
    *,
    first: Mapping[str, Any],
    without: Collection[str] = (),
) -> str:
    """`python SCRIPT --option value ...`, to be typed in the folder of the repository.

    Only options that make the run what it is, or say how it is computed, are in it.

    Args:
        usual: values that options have where the command line says nothing, when they are not the parser's defaults.
        first: options that stand first, whatever their values and roles are, None for one that is left out.
        without: further options that are left out.
    """
    words = ["python", parser.prog]
    for name, value in first.items():
        words += [] if value is None else [f"--{name.replace('_', '-')}", str(value)]
    usual = usual or {}
    for name, option in parser.options(Role.SETTING, Role.MANNER).items():
        value = getattr(args, name)
        if name not in first and name not in without and value != usual.get(name, option.default):
            words += _words(option, value)
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
