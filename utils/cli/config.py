"""--config FILE: options from a YAML file, such as the args.yaml of a run, as defaults."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from utils.cli.options import ood_set, place
from utils.cli.parser import OptionParser, Role, long_flag
from utils.errors import one_line
from utils.files import local

# What the args.yaml of a run states beside its options. Its command tells it from a file of a user's own.
FACTS = ("command", "name", "train_images", "class_names", "init_weights", "start_weights", "split_lists")


class ConfigParser(OptionParser):
    """A parser with --config, whose values hold where the command line says nothing.

    They are checked as if they were typed. Of the args.yaml of a run what is about that one call is left out: its name
    and its facts, folders, what it showed and when it saved.

    Attributes:
        reread: gives the options that the args.yaml of a run means, where they are others than those it names.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.reread: Callable[[dict[str, Any]], dict[str, Any]] = dict
        self._source = ""
        self.add_argument(
            "--config",
            type=place,
            metavar="FILE",
            default=argparse.SUPPRESS,
            help="YAML of options, dashes or underscores, as defaults: the args.yaml of a run, or a part of one",
        )

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None):
        given = sys.argv[1:] if args is None else list(args)
        finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        finder.error = self.error
        finder.add_argument("--config", type=place)
        found, typed = finder.parse_known_args(given)
        if found.config is not None:
            self._source = f"{found.config}: "
            words = self._words(found.config)
            namespace, _ = super().parse_known_args(words, namespace)
            self._source = ""
            self._forget_alternatives(namespace, typed)
        return super().parse_known_args(typed, namespace)

    def _words(self, path: Path) -> list[str]:
        """The command line that the file stands for."""
        values = _read(path, self.error)
        if "config" in values:
            self.error("config: a file of options names no further one")
        options = self.options()
        if command := values.get("command"):
            if self.prog not in str(command).split():
                self.error(f"it is of another script than {self.prog}: {one_line(command)}")
            calls = [name for name, option in options.items() if option.role is Role.CALL]
            values = {name: value for name, value in self.reread(values).items() if name not in (*FACTS, *calls)}
        words = []
        for name, value in values.items():
            option = options.get(name.replace("-", "_"))
            flag = long_flag(option) if option else self.respell(f"--{name.replace(' ', '-')}")
            if value not in ("null", "~", ""):
                words += self._typed(self._option_string_actions[flag], flag, value)
        return words

    def _typed(self, option: argparse.Action, flag: str, value: Any) -> list[str]:
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(each, str) for each in values):
            self.error(f"{flag} is neither a value nor a list of values")
        if option.nargs == 0:
            if value not in ("true", "false"):
                self.error(f"{flag}: {value} is neither true nor false")
            if isinstance(option, argparse.BooleanOptionalAction):
                return [flag if value == "true" else f"--no-{flag[2:]}"]
            return [flag] if value == "true" else []
        if option.type in (place, ood_set):
            values = [_here(each) if option.type is ood_set else str(local(each)) for each in values]
        return [flag, *values] if option.nargs == "+" else [f"{flag}={','.join(values)}"]

    def _forget_alternatives(self, namespace: argparse.Namespace, typed: Sequence[str]) -> None:
        """Of options that exclude each other the typed one wins."""
        flags = {self.respell(token).partition("=")[0] for token in typed}
        for group in self._mutually_exclusive_groups:
            if flags & {flag for option in group._group_actions for flag in option.option_strings}:
                for option in group._group_actions:
                    setattr(namespace, option.dest, option.default)

    def error(self, message: str) -> None:
        """End the script; says it where the fault is in the file."""
        super().error(f"--config {self._source}{message.removeprefix('argument ')}" if self._source else message)


def _here(text: str) -> str:
    name, _, path = text.partition("=")
    return f"{name}={local(path)}" if path else text


def _read(path: Path, error: Callable[[str], None]) -> dict[str, Any]:
    """What the file says by name; all values are texts, which the options read as they read a command line."""
    import yaml  # which --help need not wait for

    try:
        values = yaml.load(path.read_bytes(), yaml.BaseLoader)
    except OSError as reason:
        error(reason.strerror or str(reason))
    except (yaml.YAMLError, RecursionError) as reason:
        error(f"it is not YAML: {one_line(reason)}")
    if not isinstance(values, dict):
        error("it has no lines `option: value`")
    return values
