"""A web server on 127.0.0.1 that misbehaves on request, for the tests of downloads."""

import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FaultyServer:
    """Serves the files in `content` by path. `faults` maps a path to a function that answers in place of the server.

    `requests` lists the path of every request, in order.
    """

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.faults: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self.requests: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def address(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}{path}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                server.requests.append(path)
                if path in server.faults:
                    server.faults[path](self)
                elif path in server.content:
                    serve(self, server.content[path])
                else:
                    self.send_error(404)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def serve(handler: BaseHTTPRequestHandler, content: bytes, *, break_after: int | None = None) -> None:
    """Answer with `content`; drop the connection after `break_after` bytes."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/octet-stream")
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content[:break_after])
    if break_after is not None:
        handler.wfile.flush()
        handler.connection.shutdown(socket.SHUT_RDWR)


def redirect_to(address: str) -> Callable[[BaseHTTPRequestHandler], None]:
    """A fault: 302 to another address."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", address)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer
