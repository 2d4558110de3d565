"""Files are complete or not there, whatever dies; what others wrote is looked at before it is believed."""

import io
import json
import os
import signal
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.bad_files import unprivileged
from utils.errors import UserError, one_line, shown
from utils.files import atomic_write, check_archive, read_json, require_place, require_writable

KILLED = """
import sys
from utils.files import atomic_write

with atomic_write(sys.argv[1]) as stream:
    stream.write(b"half")
    stream.flush()
    print("writing", flush=True)
    sys.stdin.read()
"""


def writing(path):
    """A process that is in the middle of writing `path`."""
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "writing\n"
    return process


def test_what_a_killed_process_left_goes_and_what_is_being_written_stays(tmp_path):
    killed, alive = writing(tmp_path / "a.json"), writing(tmp_path / "a.json")
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    (tmp_path / ".mine.tmp").touch()
    assert len(list(tmp_path.glob(".a.json.*.tmp"))) == 2
    with atomic_write(tmp_path / "b.json", "w") as stream:
        stream.write("ü")
        assert len(list(tmp_path.glob(".*.json.*.tmp"))) == 2
    alive.communicate()
    assert {path.name for path in tmp_path.iterdir()} == {".mine.tmp", "a.json", "b.json"}
    assert (tmp_path / "a.json").read_bytes() == b"half" and (tmp_path / "b.json").read_text("utf-8") == "ü"


def test_permissions_are_those_of_any_new_file(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "x"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


def test_a_place_that_cannot_be_written_is_found_before_the_work(tmp_path):
    require_writable(tmp_path / "new" / "folder")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="nothing can be written to .*below: Not a directory"):
        require_writable(tmp_path / "file" / "below")
    (tmp_path / "locked").mkdir(mode=0o555)
    with unprivileged(), pytest.raises(UserError, match="locked/new: Permission denied"):
        require_writable(tmp_path / "locked" / "new")


def test_a_file_needs_a_folder_that_can_be_written_also_where_it_is_there_and_a_device_does_not(tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir()
    (locked / "rows.csv").touch(mode=0o666)
    locked.chmod(0o555)
    with unprivileged():
        with pytest.raises(UserError, match="nothing can be written to .*locked: Permission denied"):
            require_place(locked / "rows.csv")
        require_place(Path("/dev/null"))


@pytest.mark.parametrize("content", ["[" * 100_000, '{"x": Infinity}', "NaN", "", "[1", '"\\ud800"x', "9" * 5000])
def test_json_that_is_none_has_a_reason(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"."):
        read_json(path)


def test_an_archive_that_claims_more_than_it_has_is_not_read(tmp_path):
    sound, bomb = io.BytesIO(), io.BytesIO()
    np.savez(sound, a=np.arange(1000), b=np.zeros(3))
    check_archive(sound, checksums=True)
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(10_000_000))
    (tmp_path / "bomb.npz").write_bytes(bomb.getvalue())
    for file in (bomb, tmp_path / "bomb.npz"):
        with pytest.raises(ValueError, match=r"bytes and says that it holds 10,000,000"):
            check_archive(file)
    with pytest.raises(ValueError, match="zip"):
        check_archive(io.BytesIO(b"PK\x03\x04"))


def test_a_flipped_bit_in_a_record_is_found_where_it_is_asked_for():
    sound = io.BytesIO()
    np.savez(sound, a=np.zeros(1000))
    flipped = bytearray(sound.getvalue())
    flipped[4000] ^= 1
    check_archive(io.BytesIO(flipped))
    with pytest.raises(ValueError, match=r"its record a\.npy is not what was written"):
        check_archive(io.BytesIO(flipped), checksums=True)


def test_foreign_words_are_one_short_line():
    assert one_line("a\n  b\x1b[31m\0\u202e\u2028c") == "a b\\x1b[31m\\x00\\u202e c"
    assert one_line(ValueError()) == "ValueError"
    assert len(one_line("x" * 10_000)) == 300
    assert shown("a\nb ا‍ب") == "a\\x0ab ا‍ب"


def test_a_pipe_is_written_into_and_stays(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with atomic_write(pipe, "w") as stream:
        stream.write("words")
    assert os.read(reading, 9) == b"words"
    os.close(reading)
    assert pipe.is_fifo() and os.listdir(tmp_path) == ["pipe"]


def test_a_name_that_is_no_utf8_is_read_as_it_was_written(tmp_path):
    name = os.fsdecode(b"unkn\xf6wn")
    with atomic_write(tmp_path / "names.json", "w") as stream:
        json.dump({name: "\u2191"}, stream, ensure_ascii=False)
    assert read_json(tmp_path / "names.json") == {name: "\u2191"}
