"""A parser that knows the official spellings, says what is wrong in one line, and what each option is about."""

import argparse
import difflib
import sys
from collections.abc import Sequence
from enum import Enum


class Role(Enum):
    """What an option is about; it says so where it is added."""

    SETTING = "makes a run what it is: stands in its name, has to be the same on resume"
    MANNER = "how it is computed: stands in the recorded command"
    PLACE = "where data lie on one machine: recorded with the run, but not in its command"
    CALL = "what this one call shows, saves, or is to do"


class _Options:
    """What the parser and its groups share: `add_argument` takes the role of the option."""

    role = Role.SETTING

    def add_argument(self, *flags: str, role: Role | None = None, **kwargs) -> argparse.Action:
        action = super().add_argument(*flags, **kwargs)
        action.role = role or self.role
        return action

    def add_mutually_exclusive_group(self, **kwargs) -> "_EitherGroup":
        group = _EitherGroup(self, **kwargs)
        group.role = self.role
        self._mutually_exclusive_groups.append(group)
        return group


class OptionGroup(_Options, argparse._ArgumentGroup):
    """Options below a heading of their own in --help, with the role of most of them."""

    def __init__(self, *args, role: Role = Role.SETTING, **kwargs):
        super().__init__(*args, **kwargs)
        self.role = role


class _EitherGroup(_Options, argparse._MutuallyExclusiveGroup):
    """Options of which only one may be given."""


class OptionParser(_Options, argparse.ArgumentParser):
    """ArgumentParser in which `--id_loc` and `--id-loc` are the same flag, and nothing is guessed from an abbreviation.

    What is parsed has the attribute `roles`: name of an option -> its Role. Wrong usage ends the script with status 2
    and one line, which proposes the nearest flag for an unknown one. Flags of the official code that have no function
    here are refused with the reason (`refuse`).
    """

    def __init__(self, **kwargs):
        super().__init__(formatter_class=_Formatter, allow_abbrev=False, **kwargs)

    def add_argument_group(self, *args, **kwargs) -> OptionGroup:
        group = OptionGroup(self, *args, **kwargs)
        self._action_groups.append(group)
        return group

    def refuse(self, flag: str, reason: str) -> None:
        """Make `flag` an error that gives `reason`; it does not show in --help."""
        self.add_argument(flag, action=_Refused, nargs="?", help=argparse.SUPPRESS, reason=reason)

    def options(self, *roles: Role) -> dict[str, argparse.Action]:
        """The options with these roles, or all of them, by the name of their value; not those that end the script."""
        found: dict[str, argparse.Action] = {}
        for action in self._actions:
            if action.default is not argparse.SUPPRESS and (not roles or action.role in roles):
                found.setdefault(action.dest, action)  # of several spellings the first counts
        return found

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None):
        spelling = {_dashed(flag): flag for flag in self._option_string_actions if flag.startswith("--")}
        given = sys.argv[1:] if args is None else list(args)
        cut = given.index("--") if "--" in given else len(given)
        respelled = [self._respell(token, spelling) for token in given[:cut]]
        namespace, rest = super().parse_known_args(respelled + given[cut:], namespace)
        namespace.roles = {name: option.role for name, option in self.options().items()}
        return namespace, rest

    def _respell(self, token: str, spelling: dict[str, str]) -> str:
        """`token` with its flag (the part before any `=`) in the spelling under which the parser knows it."""
        flag, equals, value = token.partition("=")
        if not flag.startswith("--") or " " in flag:
            return token
        if _dashed(flag) not in spelling:
            self._refuse_unknown(flag)
        return spelling[_dashed(flag)] + equals + value

    def _refuse_unknown(self, flag: str) -> None:
        open_to_users = [action for action in self._actions if action.help is not argparse.SUPPRESS]
        shown = {_dashed(each): each for action in open_to_users for each in action.option_strings if each[:2] == "--"}
        begun = [each for each in shown if each.startswith(_dashed(flag))]
        near = begun or difflib.get_close_matches(_dashed(flag), shown, n=1, cutoff=0.7)
        ask = f"did you mean {' or '.join(shown[each] for each in near[:3])}?" if near else "--help shows all options"
        self.error(f"unknown option {flag}: {ask}")

    def error(self, message: str) -> None:
        """End the script with status 2 and the message, which the usage does not push off the screen."""
        self.exit(2, f"{self.prog}: error: {message.removeprefix('argument ')}\n")


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=30, width=110)


class _Refused(argparse.Action):
    def __init__(self, *args, reason: str, **kwargs):
        super().__init__(*args, default=argparse.SUPPRESS, **kwargs)
        self.reason = reason

    def __call__(self, parser, namespace, values, option_string=None):
        parser.error(f"{option_string} has no function here: {self.reason}")


def _dashed(flag: str) -> str:
    return "--" + flag[2:].replace("_", "-")
