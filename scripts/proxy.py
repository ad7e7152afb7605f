"""An HTTP server that passes requests on to another one, and may change them on the way."""

import contextlib
import http.client
import http.server
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple


class Request(NamedTuple):
    """What arrives at the proxy."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Reply(NamedTuple):
    """An answer of the proxy's own."""

    status: int
    body: bytes


Change = Callable[[Request], Request | Reply]
"""Gives the request that is passed on, or answers it."""


@contextlib.contextmanager
def proxy(port: int, change: Change) -> Iterator[int]:
    """Passes requests on to a server on this machine while open; gives its own port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            arrived = Request(self.command, self.path, headers, self.rfile.read(length))
            found = change(arrived)
            if isinstance(found, Reply):
                self._answer(found.status, {}, found.body)
                return
            sent = {**found.headers, "content-length": str(len(found.body))}
            server = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            server.request(found.method, found.path, found.body, sent)
            answer = server.getresponse()
            self._answer(answer.status, dict(answer.getheaders()), answer.read())
            server.close()

        def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            length = headers.get("Content-Length", "0") if self.command == "HEAD" else len(body)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on  # noqa: N815

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
