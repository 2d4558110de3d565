"""Downloads from a server that drops, truncates, redirects, serves wrong bytes, or is not there."""

import hashlib
import socket
from pathlib import Path

import pytest

from tests.faulty_server import redirect_to, serve
from utils.prepare import download
from utils.prepare.download import DownloadError, fetch

CONTENT = bytes(range(256)) * 4_000
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def server(server):
    server.content["/file"] = CONTENT
    return server


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_whole_file_and_nothing_else_is_left(server, waits, tmp_path):
    fetch(server.address("/file"), tmp_path / "new" / "a.bin", checksum=f"md5:{MD5}")
    assert (tmp_path / "new" / "a.bin").read_bytes() == CONTENT
    assert names_in(tmp_path / "new") == ["a.bin"]
    assert waits == []


def test_redirects_are_followed(server, tmp_path):
    server.faults["/old"] = redirect_to("/file")
    server.faults["/older"] = redirect_to(server.address("/old"))
    fetch(server.address("/older"), tmp_path / "a", checksum=f"md5:{MD5}")
    assert (tmp_path / "a").read_bytes() == CONTENT


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/x", "/loop"])
def test_redirects_elsewhere_or_in_a_circle_are_refused(server, tmp_path, target):
    server.faults["/loop"] = redirect_to(target)
    with pytest.raises(DownloadError):
        fetch(server.address("/loop"), tmp_path / "a")
    assert names_in(tmp_path) == []


def breaking(times: int):
    """A fault: the connection breaks off after 100,000 bytes, so many times."""
    left = [times]

    def answer(handler):
        left[0] -= 1
        serve(handler, CONTENT, break_after=100_000 if left[0] >= 0 else None)

    return answer


def test_dropped_connections_are_tried_again_from_the_beginning(server, waits, tmp_path):
    server.faults["/file"] = breaking(2)
    fetch(server.address("/file"), tmp_path / "a", checksum=f"md5:{MD5}")
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert server.requests == ["/file"] * 3 and waits == [1, 2]
    assert names_in(tmp_path) == ["a"]


def test_attempts_are_bounded_and_leave_nothing(server, waits, tmp_path):
    server.faults["/file"] = breaking(100)
    with pytest.raises(DownloadError, match="100000 bytes read.* in 4 attempts"):
        fetch(server.address("/file"), tmp_path / "a")
    assert len(server.requests) == 4 and len(waits) == 3
    assert names_in(tmp_path) == []


def test_wrong_bytes_are_deleted_and_named(server, tmp_path):
    server.content["/file"] = b"something else"
    with pytest.raises(DownloadError, match=f"(?s)wrong bytes.*{MD5}.*{hashlib.md5(b'something else').hexdigest()}"):
        fetch(server.address("/file"), tmp_path / "a", checksum=f"md5:{MD5}")
    assert names_in(tmp_path) == []


def test_a_web_page_is_no_file(server, tmp_path):
    def page(handler):
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html; charset=utf-8")
        handler.send_header("Content-Length", "4")
        handler.end_headers()
        handler.wfile.write(b"<p/>")

    server.faults["/file"] = page
    with pytest.raises(DownloadError, match="web page"):
        fetch(server.address("/file"), tmp_path / "a")
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("status, asked", [(404, 1), (403, 1), (503, 4), (429, 4)])
def test_only_passing_errors_are_tried_again(server, tmp_path, status, asked):
    server.faults["/file"] = lambda handler: handler.send_error(status)
    with pytest.raises(DownloadError, match=str(status)):
        fetch(server.address("/file"), tmp_path / "a")
    assert len(server.requests) == asked


def test_a_silent_server_is_given_up(server, monkeypatch, tmp_path):
    monkeypatch.setattr(download, "TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(DownloadError, match="did not answer in time, in 4 attempts"):
            fetch(f"http://127.0.0.1:{silent.getsockname()[1]}/file", tmp_path / "a")


def test_nobody_listens(server, waits, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(DownloadError, match="(?i)refused"):
        fetch(f"http://127.0.0.1:{port}/file", tmp_path / "a")


@pytest.mark.parametrize("address", ["no address", "file:///etc/hostname", "http://127.0.0.1:x/"])
def test_no_address(monkeypatch, address, tmp_path):
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(DownloadError):
        fetch(address, tmp_path / "a")


def test_a_full_disk_is_said_before_anything_is_written(server, tmp_path, monkeypatch):
    usage = download.shutil.disk_usage(tmp_path)._replace(free=1_000)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DownloadError, match="1.0 MB are needed .* 0.0 MB are free"):
        fetch(server.address("/file"), tmp_path / "a")
    assert names_in(tmp_path) == []


def test_no_progress_bar_where_there_is_no_terminal(server, tmp_path, capfd):
    fetch(server.address("/file"), tmp_path / "a")
    assert capfd.readouterr() == ("", "")
