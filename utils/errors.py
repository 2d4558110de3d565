"""The one exception for mistakes of a user, and how a script reports it."""

import sys
from collections.abc import Callable
from pathlib import Path


class UserError(Exception):
    """Something the user can mend: a missing file, a damaged download, settings that do not fit together.

    The message says what was looked for, where, and what to do. Scripts print it without a traceback.
    """


def run_script(main: Callable[[], int | None]) -> None:
    """Run a script's `main` and leave the process with its status.

    A UserError becomes one clear message and status 1; Ctrl-C ends with status 130.
    """
    try:
        status = main()
    except UserError as error:
        print(f"{Path(sys.argv[0]).name}: error: {error}", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        status = 130
    sys.exit(status or 0)
