"""How a script starts: its command line comes before anything slow is loaded."""

import atexit
import gc
import importlib.util
import os
import shlex
import signal
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from utils.errors import printing
from utils.files import REPOSITORY

# What every script needs of requirements.txt, as it is imported.
MODULES = tuple(
    "torch torchvision numpy scipy pooch requests sklearn tqdm tensorboard matplotlib anyascii yaml".split()
)
# Turns that a thread of GNU's OpenMP spins at a barrier before it sleeps. The usual 300,000 are milliseconds, in which
# it keeps the others from their work where the cores are shared: benchmarks/README.md, "Beside other work".
SPIN_COUNT = "1000"


def start(parse_arguments: Callable[[str | None], object] | None = None, description: str | None = None) -> None:
    """What a script does before its other imports: wrong usage and --help are answered at once, without PyTorch.

    It ends, too, where a package is missing. Warnings of libraries are one line from here on. How threads wait is set
    here, since OpenMP reads it as it is loaded; what the user has set stays. Until `run_script`, Ctrl-C ends the
    process at once, for the imports take seconds and hold nothing to be saved.

    Garbage is not looked for during the imports, which make none, nor as the process ends: among PyTorch's objects that
    took a quarter of the imports' time and a second at the end.

    Args:
        parse_arguments: takes the description for --help; reads the command line of this process. None for a script
            that has read it, or reads it later.
    """
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    if parse_arguments is not None:
        gc.disable()
        atexit.register(gc.freeze)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, as behind nohup
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        with suppress(ModuleNotFoundError), printing():  # the error is told below
            parse_arguments(description)
    missing = [module for module in MODULES if importlib.util.find_spec(module) is None]
    if missing:
        script = Path(sys.argv[0]).name
        sys.exit(f"{script}: error: {sys.executable} lacks {', '.join(missing)}; {_advice()}")


def _advice() -> str:
    environment = REPOSITORY / ".venv" / "bin"
    if (environment / "python").exists() and Path(sys.executable).parent != environment:
        return f"this repository has an environment: . {shlex.quote(str(environment / 'activate'))}"
    install = [sys.executable, "-m", "pip", "install", "-r", str(REPOSITORY / "requirements.txt")]
    return f"get it by: {shlex.join(install)}"
