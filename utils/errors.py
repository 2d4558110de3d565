"""What users are told: the one exception for their mistakes, notes, warnings, and foreign words fit for a message."""

import errno
import gc
import io
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_LONGEST = 300


class UserError(Exception):
    """Something the user can mend: a missing file, a damaged download, settings that do not fit together.

    The message says what was looked for, where, and what to do. Scripts print it without a traceback and end with
    `status`.
    """

    status = 1


class WrongUsage(UserError):
    """Arguments that can not be what was meant."""

    status = 2


def run_script(main: Callable[[], int | None]) -> None:
    """Run a script's `main` and leave the process with its status.

    A UserError becomes one clear message and its status; Ctrl-C ends with status 130. Warnings are one line, too.
    """
    if not gc.isenabled():  # since `start`
        gc.freeze()  # what was imported stays
        gc.enable()
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # as `start` has left it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with printing():
        try:
            status = main()
        except UserError as error:
            _tell(error)
            status = error.status
        except KeyboardInterrupt:
            status = 130
    sys.exit(status or 0)


@contextmanager
def printing() -> Iterator[None]:
    """What is printed inside is out at the end. Where that can not be, the script ends without a traceback.

    A reader that has seen enough (`| head`) ends it as a shell expects, silently with status 141; a full disk is named.
    Characters that the locale of standard output lacks are escapes, as they are on standard error.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # not that of a notebook
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.ENOSPC, errno.EDQUOT):
            raise
        if sys.stdout is not None:  # what is left in its buffer would fail again as Python ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == errno.EPIPE:
            sys.exit(128 + signal.SIGPIPE)
        _tell(f"nothing more can be written: {error.strerror}")
        sys.exit(1)


def _tell(error: object) -> None:
    print(f"{Path(sys.argv[0]).name}: error: {error}", file=sys.stderr)


def note(text: str) -> None:
    """Tell the user on stderr what is worth knowing about a result."""
    print(f"note: {text}", file=sys.stderr)


def warn(text: str) -> None:
    """Tell the user on stderr what went wrong and did not end the program."""
    print(f"warning: {text}", file=sys.stderr)


def one_line(words: object) -> str:
    """What a library, the system or a file says, on one line of at most 300 characters without control characters.

    Of an exception without words it is the name of its class.
    """
    text = " ".join(str(words)[: 4 * _LONGEST].split())
    text = shown(text) or type(words).__name__
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def shown(name: str | Path) -> str:
    """A name on one line that any stream can take: control characters and bytes that are no UTF-8 as escapes."""
    return "".join(_escaped(char) if _needs_escape(char) else char for char in str(name))


def _needs_escape(char: str) -> bool:
    # Not str.isprintable: Persian and the scripts of India need its zero-width joiners.
    code = ord(char)
    reorders = 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069
    return code < 0x20 or 0x7F <= code < 0xA0 or code in (0x2028, 0x2029) or 0xD800 <= code < 0xE000 or reorders


def _escaped(char: str) -> str:
    return char.encode("ascii", "backslashreplace").decode() if ord(char) > 0x7F else f"\\x{ord(char):02x}"
