"""Where a study lies: in a folder of a file system, or in a bucket."""

import contextlib
import fcntl
import os
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from signsal_jax import _files
from signsal_jax.study._bucket import Bucket, s3_environment
from signsal_jax.study._place import Folder, StudyError, encoded, printable

# Paths are given to the system whole, and it takes 4096 bytes: room for the arrays' files.
_LONGEST_ROOT = 3500
# TensorStore's drivers of buckets; each has the conditional writes that `create` needs.
_DRIVERS = {"gs": "gcs", "s3": "s3"}


def open_folder(root: Any) -> Folder:
    """The folder at a local path, or gs:// or s3:// address; nothing is made there yet.

    For S3, credentials, region and endpoint are those of AWS's own environment variables
    (`AWS_ACCESS_KEY_ID`, `AWS_REGION`, `AWS_ENDPOINT_URL`, ...).

    Raises:
      StudyError: a file, or a path that is too long.
    """
    text = os.fspath(root)
    scheme, separator, address = text.partition("://")
    if separator and scheme in _DRIVERS:
        bucket, _, path = address.partition("/")
        base = {"driver": _DRIVERS[scheme], "bucket": bucket}
        if scheme == "s3":
            base |= s3_environment()
        return Bucket(text.rstrip("/"), {**base, "path": f"{path.strip('/')}/".lstrip("/")})
    return LocalFolder(text)


class LocalFolder(Folder):
    """A folder of a file system, under any name that the system takes."""

    def __init__(self, root: str):
        # Absolute: the study stays the same one when the process changes its directory. Without
        # "..": TensorStore refuses it.
        self.root = Path(os.path.realpath(root))
        self._alias: str | None = None
        if len(os.fsencode(self.root)) > _LONGEST_ROOT:
            raise StudyError(f"out: expected a path of at most {_LONGEST_ROOT} bytes, got {self}")
        if self.root.exists() and not self.root.is_dir():
            raise StudyError(f"out: expected a folder, got the file {self}")

    def __str__(self) -> str:
        return printable(self.root)

    def read(self, names: Sequence[str], *, last: int | None = None) -> list[bytes | None]:
        return [self._read(self.root / name, last) for name in names]

    def _read(self, path: Path, last: int | None) -> bytes | None:
        try:
            with path.open("rb") as file:
                if last is not None:
                    file.seek(max(file.seek(0, os.SEEK_END) - last, 0))
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except IsADirectoryError:
            return b""

    def write(self, name: str, content: str | bytes) -> None:
        found = encoded(content)
        _files.write_atomically(self.root / name, lambda temporary: temporary.write_bytes(found))

    def create(self, name: str, text: str) -> bool:
        return _files.create_text(self.root / name, text)

    def replace(self, name: str, there: bytes, text: str) -> bool:
        # TensorStore compares and writes under a lock; the system itself has no such operation.
        base = {"driver": "file", "path": f"{self._spelled()}/"}
        return Bucket(str(self), base).replace(name, there, text)

    def delete(self, names: Sequence[str]) -> None:
        for name in names:
            (self.root / name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def locked(self, name: str) -> Iterator[None]:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                yield
            finally:
                path.unlink(missing_ok=True)

    def is_unlocked(self, name: str) -> bool:
        try:
            with (self.root / name).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: many may look at once
        except OSError:  # it is locked, or was removed, or there are no locks here
            return False
        return True

    def names(self, folder: str = "") -> list[str]:
        try:
            return sorted(os.listdir(self.root / folder))
        except FileNotFoundError:
            return []

    def explained(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def require_conditional_writes(self) -> None:
        """A file system that is shared by machines has what `create` needs."""

    def kvstore(self, name: str) -> dict[str, Any]:
        # With locks, a worker that was put to sleep while it writes a file would hold up the one
        # that takes over. Both write the same bytes, each by a rename.
        locking = {"mode": "none"}
        path = f"{self._spelled()}/{name}/"
        return {"driver": "file", "path": path, "file_io_locking": locking}

    def _spelled(self) -> str:
        """The folder under a name that TensorStore takes: its own, or a link's."""
        path = str(self.root)
        if "\\" not in path and path.isprintable() and ".__lock" not in path:
            return path
        if self._alias is None:
            links = tempfile.TemporaryDirectory(prefix="signsal-")
            weakref.finalize(self, links.cleanup)
            self._alias = f"{links.name}/study"
            os.symlink(self.root, self._alias)
        return self._alias
