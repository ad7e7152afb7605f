"""An S3 server on this machine, moto's, for tests and trials; with S3's own conditional writes."""

import contextlib
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from scripts.local_server import free_port, local_server


@contextlib.contextmanager
def s3_server(log: Path, bucket: str = "bucket") -> Iterator[dict[str, str]]:
    """Runs a server with one bucket; gives the environment that says where it is.

    Raises:
      RuntimeError: it does not start; moto's server needs the extra `test`.
    """
    port = free_port()
    code = f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"
    make = urllib.request.Request(f"http://127.0.0.1:{port}/{bucket}", method="PUT")
    with local_server("S3", [sys.executable, "-c", code], make, log):
        yield {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
