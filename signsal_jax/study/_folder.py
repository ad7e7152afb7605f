"""Where a study lies: small files by name, and the place of its arrays, in a folder or a bucket.

A file appears whole or not at all, and `create` makes it for one of many callers at once. A local
folder has both from renames and hard links; a bucket from its objects and from writes on the
condition that there is none yet.
"""

import abc
import contextlib
import fcntl
import os
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorstore

from signsal_jax import _files

# Paths are given to the system whole, and it takes 4096 bytes: room for the arrays' files.
_LONGEST_ROOT = 3500
# TensorStore's drivers of buckets; each has the conditional writes that `create` needs.
_DRIVERS = {"gs": "gcs", "s3": "s3"}


class StudyError(ValueError):
    """A study folder that cannot be used as asked; the message says why and what to do."""


class Folder(abc.ABC):
    """The files of a study; names are relative, with slashes. Its `str` can be printed."""

    root: Any

    @abc.abstractmethod
    def read(self, names: Sequence[str], *, last: int | None = None) -> list[bytes | None]:
        """The contents of files, or their last so many bytes; None for a file that is absent."""

    @abc.abstractmethod
    def write(self, name: str, content: str | bytes) -> None:
        """Writes or replaces a file."""

    @abc.abstractmethod
    def create(self, name: str, text: str) -> bool:
        """Writes a file unless there is one; says whether it is this call's."""

    @abc.abstractmethod
    def replace(self, name: str, there: bytes, text: str) -> bool:
        """Writes a file that still has the content `there`; says whether it has the new one."""

    @abc.abstractmethod
    def delete(self, names: Sequence[str]) -> None:
        """Removes files; one that is absent is no error."""

    @abc.abstractmethod
    def locked(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Keeps a file locked, so that the system shows the death of this process at once."""

    @abc.abstractmethod
    def is_unlocked(self, name: str) -> bool:
        """Whether a file that was locked, by a process of this machine, is so no more."""

    @abc.abstractmethod
    def names(self, folder: str = "") -> list[str]:
        """What lies in a folder of the study, sorted; nothing if there is no such folder."""

    @abc.abstractmethod
    def kvstore(self, name: str) -> dict[str, Any]:
        """A subfolder as TensorStore's key-value store."""


def _encoded(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


def printable(path: Any) -> str:
    """A path for messages: bytes that are no UTF-8 are written as \\xff, for any stream."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


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
            base |= _s3_environment()
        return Bucket(text.rstrip("/"), {**base, "path": f"{path.strip('/')}/".lstrip("/")})
    return LocalFolder(text)


def _s3_environment() -> dict[str, str]:
    """Where S3 is, if the environment says so; TensorStore itself reads only the credentials."""
    named = {
        "endpoint": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
        "aws_region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    }
    found = {
        option: next((os.environ[name] for name in names if os.environ.get(name)), None)
        for option, names in named.items()
    }
    return {option: value for option, value in found.items() if value}


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
        found = _encoded(content)
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

    def kvstore(self, name: str) -> dict[str, Any]:
        return {"driver": "file", "path": f"{self._spelled()}/{name}/"}

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


class Bucket(Folder):
    """A prefix of a bucket, through TensorStore's key-value store."""

    def __init__(self, root: str, base: dict[str, Any]):
        self.root = root
        self._base = base
        self._objects = tensorstore.KvStore.open(base).result()

    def __str__(self) -> str:
        return self.root

    def read(self, names: Sequence[str], *, last: int | None = None) -> list[bytes | None]:
        bytes_wanted = None if last is None else slice(-last, None)
        return [
            self._content(read)
            for read in [self._objects.read(name, byte_range=bytes_wanted) for name in names]
        ]

    def _content(self, read: Any) -> bytes | None:
        try:
            found = read.result()
        except ValueError as error:
            if "OUT_OF_RANGE" in str(error):  # it has fewer bytes than were asked for
                return b""
            raise
        return found.value if found.state == "value" else None

    def write(self, name: str, content: str | bytes) -> None:
        self._objects.write(name, _encoded(content)).result()

    def create(self, name: str, text: str) -> bool:
        found = self._objects.read(name).result()
        if found.state != "missing":
            return False
        self._objects.write(name, text.encode(), if_equal=found.stamp.generation).result()
        # What the write reports is no answer: it may have been sent twice.
        return self.read([name])[0] == text.encode()

    def replace(self, name: str, there: bytes, text: str) -> bool:
        found = self._objects.read(name).result()
        if found.state == "value" and found.value == there:
            self._objects.write(name, text.encode(), if_equal=found.stamp.generation).result()
        return self.read([name])[0] == text.encode()

    def delete(self, names: Sequence[str]) -> None:
        for deleted in [self._objects.write(name, None) for name in names]:
            deleted.result()

    def locked(self, name: str) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def is_unlocked(self, name: str) -> bool:
        return False

    def names(self, folder: str = "") -> list[str]:
        prefix = f"{folder}/" if folder else ""
        keys = tensorstore.KvStore.KeyRange(
            prefix, f"{folder}0" if folder else ""
        )  # "0" is "/" + 1
        found = self._objects.list(keys, strip_prefix_length=len(prefix)).result()
        return sorted({key.decode().split("/")[0] for key in found})

    def kvstore(self, name: str) -> dict[str, Any]:
        return {**self._base, "path": f"{self._base['path']}{name}/"}
