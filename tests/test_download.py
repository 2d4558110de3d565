"""Downloads from a server that drops, truncates, redirects, serves wrong bytes, changes the file, or is not there."""

import hashlib
import socket
from pathlib import Path

import pytest

from tests.faulty_server import redirect_to, serve
from utils.prepare import download
from utils.prepare.download import DownloadError, Patience, fetch

CONTENT = bytes(range(256)) * 4_000
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def server(server):
    server.content["/file"] = CONTENT
    return server


@pytest.fixture
def waits():
    return []


@pytest.fixture
def patience(waits):
    return Patience(attempts=4, timeout=5, wait=waits.append)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_whole_file_and_nothing_else_is_left(server, patience, waits, tmp_path):
    fetch(server.address("/file"), tmp_path / "new" / "a.bin", md5=MD5, patience=patience)
    assert (tmp_path / "new" / "a.bin").read_bytes() == CONTENT
    assert names_in(tmp_path / "new") == ["a.bin"]
    assert waits == []


def test_redirects_are_followed_and_keep_the_range(server, patience, tmp_path):
    server.faults["/old"] = redirect_to("/file")
    server.faults["/older"] = redirect_to(server.address("/old"))
    fetch(server.address("/older"), tmp_path / "a", md5=MD5, patience=patience)
    assert (tmp_path / "a").read_bytes() == CONTENT


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/x", "/loop"])
def test_redirects_elsewhere_or_in_a_circle_are_refused(server, patience, tmp_path, target):
    server.faults["/loop"] = redirect_to(target)
    with pytest.raises(DownloadError):
        fetch(server.address("/loop"), tmp_path / "a", patience=patience)
    assert names_in(tmp_path) == []


def test_dropped_connections_go_on_where_they_broke(server, patience, waits, tmp_path):
    server.faults["/file"] = lambda handler: serve(handler, CONTENT, break_after=400_000)
    fetch(server.address("/file"), tmp_path / "a", md5=MD5, patience=patience)
    assert (tmp_path / "a").read_bytes() == CONTENT
    starts = [int(asked[6:-1]) if asked else 0 for _, asked in server.requests]
    assert starts == [0, 400_000, 800_000]
    assert waits == [1.0, 2.0]


def test_attempts_are_bounded_and_the_next_call_resumes(server, patience, waits, tmp_path):
    server.faults["/file"] = lambda handler: serve(handler, CONTENT, break_after=100_000)
    with pytest.raises(DownloadError, match="4 attempts; 0.4 MB are kept"):
        fetch(server.address("/file"), tmp_path / "a", md5=MD5, patience=patience)
    assert len(server.requests) == 4
    assert len(waits) == 3
    assert names_in(tmp_path) == ["a.part", "a.part.json"]
    del server.faults["/file"]
    fetch(server.address("/file"), tmp_path / "a", md5=MD5, patience=patience)
    assert server.requests[-1] == ("/file", "bytes=400000-")
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert names_in(tmp_path) == ["a"]


def leave_a_part(server, patience, path: Path) -> None:
    server.faults["/file"] = lambda handler: serve(handler, CONTENT, break_after=100_000)
    with pytest.raises(DownloadError):
        fetch(server.address("/file"), path, patience=patience)
    del server.faults["/file"]


@pytest.mark.parametrize("change", ["etag", "size", "shorter"])
def test_a_part_of_another_version_is_not_joined(server, patience, tmp_path, change):
    leave_a_part(server, patience, tmp_path / "a")
    other = {"etag": CONTENT[::-1], "size": CONTENT[::-1] + b"x", "shorter": b"short"}[change]
    server.content["/file"] = other
    server.etags["/file"] = '"two"' if change == "etag" else '"one"'
    fetch(server.address("/file"), tmp_path / "a", patience=patience)
    assert (tmp_path / "a").read_bytes() == other


def test_a_part_from_another_address_is_not_joined(server, patience, tmp_path):
    leave_a_part(server, patience, tmp_path / "a")
    server.content["/mirror"] = CONTENT[::-1]
    fetch(server.address("/mirror"), tmp_path / "a", patience=patience)
    assert (tmp_path / "a").read_bytes() == CONTENT[::-1]


def test_a_server_without_ranges_starts_over(server, patience, tmp_path):
    leave_a_part(server, patience, tmp_path / "a")

    def whole(handler):
        del handler.headers["Range"]
        serve(handler, CONTENT)

    server.faults["/file"] = whole
    fetch(server.address("/file"), tmp_path / "a", md5=MD5, patience=patience)
    assert (tmp_path / "a").read_bytes() == CONTENT


@pytest.mark.parametrize("state", ["", "[]", '{"address": 1}', "\x00"])
def test_a_damaged_state_file_starts_over(server, patience, tmp_path, state):
    (tmp_path / "a.part").write_bytes(b"old")
    (tmp_path / "a.part.json").write_text(state)
    fetch(server.address("/file"), tmp_path / "a", md5=MD5, patience=patience)
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_wrong_bytes_are_deleted_and_named(server, patience, tmp_path):
    server.content["/file"] = b"something else"
    with pytest.raises(DownloadError, match=f"md5 {hashlib.md5(b'something else').hexdigest()} in place of {MD5}"):
        fetch(server.address("/file"), tmp_path / "a", md5=MD5, patience=patience)
    assert names_in(tmp_path) == []


def test_a_web_page_is_no_file(server, patience, tmp_path):
    def page(handler):
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html; charset=utf-8")
        handler.send_header("Content-Length", "4")
        handler.end_headers()
        handler.wfile.write(b"<p/>")

    server.faults["/file"] = page
    with pytest.raises(DownloadError, match="web page"):
        fetch(server.address("/file"), tmp_path / "a", patience=patience)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("status, asked", [(404, 1), (403, 1), (503, 4), (429, 4)])
def test_only_passing_errors_are_tried_again(server, patience, tmp_path, status, asked):
    server.faults["/file"] = lambda handler: handler.send_error(status)
    with pytest.raises(DownloadError, match=str(status)):
        fetch(server.address("/file"), tmp_path / "a", patience=patience)
    assert len(server.requests) == asked


def test_a_silent_server_is_given_up(server, waits, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        patience = Patience(attempts=2, timeout=0.05, wait=waits.append)
        with pytest.raises(DownloadError, match="did not answer in time, in 2 attempts"):
            fetch(f"http://127.0.0.1:{silent.getsockname()[1]}/file", tmp_path / "a", patience=patience)


def test_nobody_listens(server, patience, waits, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(DownloadError, match="(?i)refused"):
        fetch(f"http://127.0.0.1:{port}/file", tmp_path / "a", patience=patience)


@pytest.mark.parametrize("address", ["no address", "file:///etc/hostname", "http://127.0.0.1:x/"])
def test_no_address(monkeypatch, address, patience, tmp_path):
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(DownloadError):
        fetch(address, tmp_path / "a", patience=patience)


def test_a_full_disk_is_said_before_anything_is_written(server, patience, tmp_path, monkeypatch):
    usage = download.shutil.disk_usage(tmp_path)._replace(free=1_000)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DownloadError, match="1.0 MB are needed .* 0.0 MB are free"):
        fetch(server.address("/file"), tmp_path / "a", patience=patience)
    assert names_in(tmp_path) == []


def test_no_progress_bar_where_there_is_no_terminal(server, patience, tmp_path, capfd):
    fetch(server.address("/file"), tmp_path / "a", patience=patience)
    assert capfd.readouterr() == ("", "")
