"""Which Python the shell scripts take: the user's where $PYTHON is set, else .venv, which `set_up` makes."""

import shutil

import pytest

from tests.commands import REPOSITORY, run

# A Python that notes how it was called, and makes a virtual environment that does the same.
PRETENDED = """#!/bin/sh
echo "$@" >> {calls}
if [ "$2" = venv ]; then mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && cp "$0" "$3/bin/pip"; fi
"""


@pytest.fixture
def repository(tmp_path):
    """A folder with environment.sh, and a python3 on the PATH that is only pretended."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(REPOSITORY / "scripts" / "environment.sh", tmp_path / "scripts")
    (tmp_path / "requirements.txt").write_text("one\n")
    (tmp_path / "bin").mkdir()
    pretended = tmp_path / "bin" / "python3"
    pretended.write_text(PRETENDED.format(calls=tmp_path / "calls"))
    pretended.chmod(0o755)
    return tmp_path


def set_up(repository, python=""):
    done = run(
        "sh",
        "-euc",
        'root=$0; . "$root/scripts/environment.sh"; set_up "$root/requirements.txt"; echo "$PYTHON"',
        repository,
        PYTHON=python,
        PATH=f"{repository / 'bin'}:/usr/bin:/bin",
    )
    assert done.returncode == 0, done.stderr
    calls = repository / "calls"
    return done.stdout.splitlines()[-1], calls.read_text().splitlines() if calls.exists() else []


@pytest.mark.parametrize("python", ["python3", "/somewhere/bin/python"])
def test_an_environment_of_the_users_is_left_alone(repository, python):
    assert set_up(repository, python) == (python, [])
    assert not (repository / ".venv").exists()


def test_one_is_made_once_and_again_filled_when_the_requirements_change(repository):
    python = str(repository / ".venv" / "bin" / "python")
    found, calls = set_up(repository)
    assert found == python
    assert calls[0] == f"-m venv {repository / '.venv'}" and calls[1].endswith(f"-r {repository / 'requirements.txt'}")
    assert set_up(repository) == (python, calls)
    (repository / "requirements.txt").write_text("two\n")
    _, more = set_up(repository)
    assert more[:-1] == calls and more[-1] == calls[1]


def test_one_whose_making_was_interrupted_is_made_again(repository):
    _, calls = set_up(repository)
    (repository / ".venv" / "bin" / "pip").unlink()
    next((repository / ".venv").glob("installed-*")).unlink()
    _, more = set_up(repository)
    assert more == 2 * calls
