"""Fixtures that several test files share."""

import sys

import pytest

import eval_cider
from tests.faulty_server import FaultyServer
from utils.errors import run_script


@pytest.fixture
def run_eval(monkeypatch, capsys):
    """Call eval_cider.py with a command line: its exit status and what it printed to either stream."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["eval_cider.py", "--device", "cpu", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            run_script(eval_cider.main)
        return ended.value.code, *capsys.readouterr()

    return call


@pytest.fixture
def waits(monkeypatch):
    """The seconds that downloads would have waited between attempts."""
    seconds: list[float] = []
    monkeypatch.setattr("pooch.core.time.sleep", seconds.append)
    return seconds


@pytest.fixture
def server(monkeypatch, waits):
    """A server on this machine, with no proxy in between."""
    monkeypatch.setenv("no_proxy", "*")
    running = FaultyServer()
    yield running
    running.close()
