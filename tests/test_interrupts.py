"""Signals are noted in the context and only there, and the command to go on is one that a shell understands."""

import os
import shlex
import signal
import sys
import threading

import pytest

from utils.errors import UserError, run_script
from utils.training.interrupts import Interrupts, command_to_go_on


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_a_second_acts(number):
    before = signal.getsignal(number)
    with Interrupts() as interrupts:
        assert interrupts.received is None
        signal.raise_signal(number)
        assert interrupts.received == number
        assert signal.getsignal(number) == signal.SIG_DFL
    assert signal.getsignal(number) == before


def test_handlers_are_put_back_after_an_error():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError), Interrupts():
        1 / 0  # noqa: B018
    assert signal.getsignal(signal.SIGINT) == before


def test_outside_of_the_main_thread_nothing_is_touched():
    before = signal.getsignal(signal.SIGTERM)
    found = []

    def inside():
        with Interrupts() as interrupts:
            found.append((interrupts.received, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert found == [(None, before)]


def test_the_command_works_from_any_folder_and_goes_on(tmp_path, monkeypatch):
    folder = tmp_path / "a folder's name"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["train.py", "--resume", "none", "--name", "my run", "--resume=x.pt", "--w", "2"])
    change, folder_name, also, *command = shlex.split(command_to_go_on())
    assert (change, folder_name, also) == ("cd", str(folder), "&&")
    assert command == [sys.executable, "train.py", "--name", "my run", "--w", "2"]


def test_under_torchrun_the_command_is_torchrun_again(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setattr(sys, "argv", ["train.py"])
    assert shlex.split(command_to_go_on())[3:] == [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=4", "train.py",
    ]  # fmt: skip
    assert os.getcwd() in command_to_go_on()


def test_how_a_script_ends(capsys):
    def refuse():
        raise UserError("no")

    def interrupted():
        raise KeyboardInterrupt

    for main, status in ((lambda: None, 0), (lambda: 3, 3), (refuse, 1), (interrupted, 130)):
        with pytest.raises(SystemExit) as ended:
            run_script(main)
        assert ended.value.code == status
    assert capsys.readouterr().err.endswith(": error: no\n")
