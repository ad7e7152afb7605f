"""A server on this machine, a program of its own, with one bucket: started, awaited and ended."""

import contextlib
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

_TRIES = 600


def free_port() -> int:
    """A port of this machine that nothing listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def local_server(
    kind: str, program: Sequence[Any], bucket: urllib.request.Request, log: Path
) -> Iterator[None]:
    """Runs a program while open; what is inside begins once the server has made a bucket.

    Args:
      kind: of the server, for the message.
      program: with its arguments.
      bucket: the request that makes the bucket.
      log: file for the program's output.

    Raises:
      RuntimeError: it does not start.
    """
    with log.open("wb") as file:
        server = subprocess.Popen(program, stdout=file, stderr=file)
    try:
        for _ in range(_TRIES):
            try:
                urllib.request.urlopen(bucket, timeout=10).close()
                break
            except OSError as error:
                if server.poll() is not None:
                    raise RuntimeError(f"no {kind} server: {log.read_text()}") from error
                time.sleep(0.1)
        yield
    finally:
        server.kill()
        server.wait()
