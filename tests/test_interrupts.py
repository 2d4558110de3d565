"""Signals are noted in the context and only there, and the command to go on is one that a shell understands."""

import multiprocessing
import os
import shlex
import signal
import subprocess
import sys

import pytest
import torch
from PIL import Image

from tests.commands import REPOSITORY
from tests.training_runs import new_process
from utils.cli.run import command_to_go_on
from utils.data.augment import Plain
from utils.data.batches import TrainBatches
from utils.data.images import FileImages
from utils.errors import UserError, run_script
from utils.training.interrupts import Interrupts


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


def printing_into(stream, *, unbuffered):
    """What becomes of a script that prints a line and then fails, where its output goes to `stream`."""
    script = """
from utils.cli.start import start
from utils.errors import UserError, run_script

start(lambda _: None)

def main():
    print("a line", flush=True)
    raise UserError("no")

run_script(main)
"""
    return subprocess.run(
        [sys.executable, *(["-u"] if unbuffered else []), "-c", script],
        cwd=REPOSITORY, stdout=stream, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("unbuffered", [False, True])
def test_a_reader_that_has_gone_ends_a_script_as_shells_expect(unbuffered):
    reading, writing = os.pipe()
    os.close(reading)
    done = printing_into(writing, unbuffered=unbuffered)
    os.close(writing)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no device that is always full")
@pytest.mark.parametrize("unbuffered", [False, True])
def test_output_to_a_full_disk_is_one_line(unbuffered):
    with open("/dev/full", "w") as full:
        done = printing_into(full, unbuffered=unbuffered)
    assert done.returncode == 1
    assert done.stderr == "-c: error: nothing more can be written: No space left on device\n"


def test_what_the_locale_of_the_output_lacks_is_an_escape():
    script = "from utils.errors import run_script; run_script(lambda: print('AUROC \u2191'))"
    arguments = {"cwd": REPOSITORY, "env": {**os.environ, "PYTHONIOENCODING": "ascii"}, "capture_output": True}
    done = subprocess.run([sys.executable, "-c", script], text=True, **arguments)
    assert (done.returncode, done.stdout) == (0, "AUROC \\u2191\n")


def test_a_script_runs_where_standard_output_is_not_python_s_own(monkeypatch):
    class Cell:  # what a notebook has in its place
        said = ""

        def write(self, text):
            self.said += text

        def flush(self):
            pass

    monkeypatch.setattr(sys, "stdout", Cell())
    with pytest.raises(SystemExit) as ended:
        run_script(lambda: print("words"))
    assert (ended.value.code, sys.stdout.said) == (0, "words\n")


def test_ctrl_c_during_the_imports_ends_a_script_without_a_traceback():
    script = (
        "import os, signal; signal.signal(2, signal.default_int_handler)\n"  # a test in the background inherits none
        "from utils.cli.start import start; start(lambda _: None); os.kill(os.getpid(), 2)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_garbage_is_collected_while_a_script_works():
    script = (
        "import gc; from utils.cli.start import start; start(lambda _: None); off = not gc.isenabled()\n"
        "from utils.errors import run_script; run_script(lambda: 0 if off and gc.isenabled() else 1)"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY).returncode == 0


def test_where_ctrl_c_is_ignored_it_stays_so():
    script = (
        "import os, signal; signal.signal(2, signal.SIG_IGN); from utils.cli.start import start; start(lambda _: None);"
        "from utils.errors import run_script; run_script(lambda: os.kill(os.getpid(), 2))"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY).returncode == 0


def train_while_the_group_is_signalled(number, folder):
    """Body of a process with a group of its own and loader processes; its exit status is 0 if it saw all images."""
    os.setsid()
    multiprocessing.set_start_method("fork", force=True)  # the default before Python 3.14, outside of this test
    torch.set_num_threads(1)
    paths = sorted(folder.glob("*.png"))
    images = FileImages("files", paths, 8, torch.zeros(len(paths), dtype=torch.int64))
    source = TrainBatches(images, Plain((0.5,) * 3, (0.5,) * 3), batch_size=2, seed=0, device="cpu", workers=2)
    seen = 0
    with Interrupts() as interrupts:
        for epoch in range(2):
            for batch in source.epoch(epoch):
                seen += len(batch.labels)
                if seen == 4:
                    os.killpg(os.getpgrp(), number)
    sys.exit(0 if (seen, interrupts.received) == (2 * len(paths), number) else 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_loaders_outlive_a_signal_to_the_whole_group(tmp_path, number):
    for name in range(24):
        Image.new("RGB", (8, 8), (name, 0, 0)).save(tmp_path / f"{name}.png")
    process = new_process(train_while_the_group_is_signalled, (number, tmp_path))
    process.start()
    process.join(60)
    process.kill()
    process.join()
    assert process.exitcode == 0
