"""What is being done, for who waits at a terminal; nothing where the output goes to a file."""

import sys


def say(text: str) -> None:
    """A line on the terminal, among the progress bars."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr, flush=True)
