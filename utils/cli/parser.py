"""A parser that knows the official spellings, says what is wrong in one line, and what each option is about."""

import argparse
import difflib
import sys
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any


class Role(Enum):
    """What an option is about; it says so where it is added."""

    SETTING = "makes a run what it is: stands in its name, has to be the same on resume"
    MANNER = "how it is computed: stands in the recorded command"
    PLACE = "where data lie on one machine: recorded with the run, but not in its command"
    CALL = "what this one call shows, saves, or is to do"


class OptionParser(argparse.ArgumentParser):
    """ArgumentParser in which `--id_loc` and `--id-loc` are the same flag, and nothing is guessed from an abbreviation.

    What is parsed has the attribute `options`: name of a value -> its option, which has a `role`. Wrong usage ends the
    script with status 2 and one line, which proposes the nearest flag for an unknown one. Flags of the official code
    that have no function here are refused with the reason (`refuse`).
    """

    def __init__(self, **kwargs):
        super().__init__(formatter_class=_Formatter, allow_abbrev=False, **kwargs)
        self._refused: dict[str, str] = {}

    def group(self, title: str, about: str | None = None, role: Role = Role.SETTING) -> "Group":
        """A heading in --help, for options of which most have this role."""
        return Group(self.add_argument_group(title, about), role)

    def refuse(self, flag: str, reason: str) -> None:
        """Make `flag` an error that gives `reason`; it does not show in --help."""
        self._refused[_dashed(flag)] = reason

    def options(self) -> dict[str, argparse.Action]:
        """The options by the name of their value, but for those that end the script; of several spellings the first."""
        found: dict[str, argparse.Action] = {}
        for action in self._actions:
            if action.default is not argparse.SUPPRESS and action.dest not in found:
                found[action.dest] = action
        return found

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None):
        given = sys.argv[1:] if args is None else list(args)
        cut = given.index("--") if "--" in given else len(given)
        namespace, rest = super().parse_known_args([*map(self.respell, given[:cut]), *given[cut:]], namespace)
        namespace.options = self.options()
        return namespace, rest

    def respell(self, token: str) -> str:
        """`token` with its flag (the part before any `=`) in the spelling under which the parser knows it."""
        flag, equals, value = token.partition("=")
        if not flag.startswith("--") or " " in flag:
            return token
        known = {_dashed(each): each for each in self._option_string_actions if each.startswith("--")}
        dashed = _dashed(flag)
        if dashed in known:
            return known[dashed] + equals + value
        if dashed in self._refused:
            self.error(f"{flag} has no function here: {self._refused[dashed]}")
        begun = [each for each in known if each.startswith(dashed)]
        near = begun or difflib.get_close_matches(dashed, known, n=1, cutoff=0.7)
        ask = f"did you mean {' or '.join(known[each] for each in near[:3])}?" if near else "--help shows all options"
        self.error(f"unknown option {flag}: {ask}")

    def error(self, message: str) -> None:
        """End the script with status 2 and the message, which the usage does not push off the screen."""
        message = message.removeprefix("argument ")
        if "arguments are required" in message:
            message += "; --help says what they may be"
        self.exit(2, f"{self.prog}: error: {message}\n")


class Group:
    """Options below one heading."""

    def __init__(self, container: argparse._ActionsContainer, role: Role):
        self._container, self._role = container, role

    def either(self) -> "Group":
        """For options of which only one may be given."""
        return Group(self._container.add_mutually_exclusive_group(), self._role)

    def add(
        self,
        flag: str,
        kind: Callable[[str], Any] | tuple[str, ...] | type[argparse.Action],
        about: str | None = None,
        *,
        also: str | None = None,
        role: Role | None = None,
        **more: Any,
    ) -> argparse.Action:
        """Add an option.

        Args:
            kind: what reads its value, an argparse type; the values that it may have; an argparse action; or `bool`,
                for a switch that is off unless it is given.
            about: for --help, which adds the default where it says none.
            also: another spelling.    more: as argparse has it.
        """
        if isinstance(kind, tuple):
            more["choices"] = kind
        elif isinstance(kind, type) and issubclass(kind, argparse.Action):
            more["action"] = kind
        else:
            more |= {"action": "store_true"} if kind is bool else {"type": kind}
        option = self._container.add_argument(flag, *([also] if also else []), help=about, **more)
        option.role = role or self._role
        return option


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Adds the default where the help says none; a value is called as its type says (`metavar`)."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=30, width=110)

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        silent = "default" in text or action.default in (None, argparse.SUPPRESS) or action.default is False
        return text if silent else f"{text} (default: %(default)s)".lstrip()

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        return getattr(action.type, "metavar", action.dest.upper())


def long_flag(option: argparse.Action) -> str:
    """The first spelling of an option with two dashes."""
    return next(each for each in option.option_strings if each.startswith("--"))


def _dashed(flag: str) -> str:
    return "--" + flag[2:].replace("_", "-")
