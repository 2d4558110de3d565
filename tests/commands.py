"""Runs the repository's commands as a user types them."""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def run(*command: str | Path, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command without a GPU, on one thread, with this Python for the shell scripts; its output is captured."""
    settings = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHON": sys.executable, **environment}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd or REPOSITORY,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )


def python(script: str, *arguments: str | Path, **more) -> subprocess.CompletedProcess[str]:
    """Run a script of the repository by this Python."""
    return run(sys.executable, REPOSITORY / script, *arguments, **more)


def shell(script: str, *arguments: str | Path, **more) -> subprocess.CompletedProcess[str]:
    """Run a shell script of the repository."""
    return run("sh", REPOSITORY / "scripts" / script, *arguments, **more)
