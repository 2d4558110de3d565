"""Runs the repository's commands as a user types them."""

import gc
import io
import os
import runpy
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

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


def here(script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The same in this process, without the seconds that another one takes to start."""
    command = [str(REPOSITORY / script), *map(str, arguments)]
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", command)
        patch.setattr(sys, "path", list(sys.path))
        patch.setattr(gc, "disable", lambda: None)  # until `run_script`, to which wrong usage never comes
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(command[0], run_name="__main__")
    return subprocess.CompletedProcess(command, ended.value.code, out.getvalue(), err.getvalue())


def shell(script: str, *arguments: str | Path, **more) -> subprocess.CompletedProcess[str]:
    """Run a shell script of the repository."""
    return run("sh", REPOSITORY / "scripts" / script, *arguments, **more)
