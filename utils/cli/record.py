"""What is written down about a call: its arguments, the command that repeats it, the name of its run."""

import argparse
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.cli.options import ood_set
from utils.cli.parser import Role, long_flag
from utils.files import portable


def key_arguments(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments that make a run what it is, and must be the same on resume."""
    return _written(args, Role.SETTING)


def recorded(args: argparse.Namespace) -> dict[str, Any]:
    """What the files of a run hold: its name, its command, and the arguments that are of more than one call."""
    return _written(args, Role.SETTING, Role.MANNER, Role.PLACE) | {"name": args.name, "command": args.command}


def _written(args: argparse.Namespace, *roles: Role) -> dict[str, Any]:
    return {name: written(option, getattr(args, name)) for name, option in args.options.items() if option.role in roles}


def written(option: argparse.Action, value: Any) -> Any:
    """A value of an option as JSON knows it; no place in it names the machine, see `portable`."""
    if isinstance(value, tuple | list):
        return [written(option, each) for each in value]
    if isinstance(value, str) and option.type is ood_set and "=" in value:
        name, path = value.split("=", 1)
        return f"{name}={portable(path)}"
    return portable(value) if isinstance(value, Path) else value


def words(option: argparse.Action, value: Any) -> list[str]:
    """What is typed to give an option a value."""
    flag = long_flag(option)
    if isinstance(option, argparse.BooleanOptionalAction):
        return [flag if value else f"--no-{flag.removeprefix('--')}"]
    if option.nargs == 0:
        return [flag] if value else []
    value = written(option, value)
    if option.nargs == "+":
        return [flag, *map(str, value)]
    return [flag, ",".join(map(str, value)) if isinstance(value, list) else str(value)]


def command(
    args: argparse.Namespace,
    script: str,
    usual: Mapping[str, Any] | None = None,
    *,
    first: Mapping[str, Any],
) -> str:
    """The shortest `python SCRIPT --option value ...` that gives these arguments in the folder of the repository.

    Only options that make the run what it is, or say how it is computed, are in it.

    Args:
        usual: values that options have where the command line says nothing, when they are not the parser's defaults.
        first: options that stand first, whatever their values and roles are, None for one that is left out.
    """
    typed = ["python", script]
    for name, value in first.items():
        typed += [] if value is None else [f"--{name.replace('_', '-')}", str(value)]
    for name, option in args.options.items():
        value = getattr(args, name)
        left_out = name in first or option.role not in (Role.SETTING, Role.MANNER)
        if not left_out and value != (usual or {}).get(name, option.default):
            typed += words(option, value)
    return shlex.join(typed)


def run_name(args: argparse.Namespace, settings: Mapping[str, Any], method: str) -> str:
    """Name of a run's folder: method, encoder, what differs from the paper's settings, seed and trial; no date."""
    named = ("in_dataset", "loss", "model", "seed", "trial")
    changed = [
        f"{key.replace('_', '-')}-{','.join(map(str, value)) if isinstance(value, list) else value}"
        for key, value in sorted(key_arguments(args).items())
        if key not in named and value != written(args.options[key], settings.get(key, args.options[key].default))
    ]
    if args.init_from:
        changed.append(f"init-from-{args.init_from.parent.name}-{args.init_from.name.split('.')[0]}")
    name = "_".join([method, args.model, *changed, f"seed{args.seed}", f"trial{args.trial}"])
    return re.sub(r"[^\w.,-]+", "-", name)


def name_run(args: argparse.Namespace, script: str, settings: Mapping[str, Any], method: str) -> None:
    """Set args.name where the command line gives none, and args.command."""
    usual = run_name(args, settings, method)
    args.name = args.name or usual
    first = {"in_dataset": args.in_dataset, "seed": args.seed, "name": None if args.name == usual else args.name}
    args.command = command(args, script, settings, first=first)
