"""A study in a bucket of Google Cloud Storage or S3."""

import contextlib
import os
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

import tensorstore

from signsal_jax.study._place import Folder, StudyError, encoded

# Of so many writes at once, some surely meet.
_RIVALS = 8
_PATIENCE_SECONDS = 10.0
_NOTHING = "none"  # a folder of no study
_CAUSES = {
    "the credentials have expired, or do not allow this. Renew them and run the same command "
    "again: everything committed is kept": (
        "ExpiredToken",
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "PERMISSION_DENIED",
        "UNAUTHENTICATED",
    ),
    "there is no such bucket, or no more. Make it, or choose another --out": (
        "NoSuchBucket",
        "bucket does not exist",
        "NOT_FOUND",
    ),
}


def s3_environment() -> dict[str, str]:
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


class Bucket(Folder):
    """A prefix of a bucket, through TensorStore's key-value store."""

    def __init__(self, root: str, base: dict[str, Any]):
        self.root = root
        self._base = base
        self._objects = tensorstore.KvStore.open(base).result()

    def __str__(self) -> str:
        return self.root

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        try:
            yield
        except StudyError:
            raise
        except (ValueError, OSError) as error:
            for words, marks in _CAUSES.items():
                if any(mark in str(error) for mark in marks):
                    reason = str(error).partition(" [")[0]
                    raise StudyError(f"{self}: {words} ({reason})") from error
            raise

    def require_conditional_writes(self) -> None:
        name = f".conditions-{secrets.token_hex(8)}"
        with self.explained():
            absent = self._objects.read(name).result().stamp.generation
            self.names(_NOTHING)  # whether there is such a bucket
            # At once: a client that looks first and writes then would hide what the store lacks.
            try:
                writes = [
                    self._objects.write(name, str(rival).encode(), if_equal=absent)
                    for rival in range(_RIVALS)
                ]
                # The generation of a write that was not made is empty.
                made = sum(write.result().generation != b"" for write in writes)
            except NotImplementedError:
                made = _RIVALS
            self.delete([name])
        if made > 1:
            raise StudyError(
                f"out: {self} has no conditional writes: several workers would take the same "
                "images and overwrite each other. Use a bucket of Google Cloud Storage or S3, "
                "another store that honors If-None-Match, or a file system"
            )

    def read(self, names: Sequence[str], *, last: int | None = None) -> list[bytes | None]:
        bytes_wanted = None if last is None else slice(-last, None)
        with self.explained():
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
        with self.explained():
            self._objects.write(name, encoded(content)).result()

    def create(self, name: str, text: str) -> bool:
        with self.explained():
            found = self._objects.read(name).result()
            if found.state != "missing":
                return False
            self._write_if(name, text, found)
        # What the write reports is no answer: it may have been sent twice.
        return self.read([name])[0] == text.encode()

    def _write_if(self, name: str, text: str, found: Any) -> None:
        """Writes an object unless it has changed since it was read."""
        write = self._objects.write(name, text.encode(), if_equal=found.stamp.generation)
        while True:
            try:
                write.result(timeout=_PATIENCE_SECONDS)
                return
            except TimeoutError:
                # In an S3 bucket that has gone, TensorStore tries a conditional write for ever.
                try:
                    self.names(_NOTHING)
                except StudyError:
                    write.cancel()
                    raise

    def replace(self, name: str, there: bytes, text: str) -> bool:
        with self.explained():
            found = self._objects.read(name).result()
            if found.state == "value" and found.value == there:
                self._write_if(name, text, found)
        return self.read([name])[0] == text.encode()

    def delete(self, names: Sequence[str]) -> None:
        with self.explained():
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
        with self.explained():
            found = self._objects.list(keys, strip_prefix_length=len(prefix)).result()
        return sorted({key.decode().split("/")[0] for key in found})

    def kvstore(self, name: str) -> dict[str, Any]:
        return {**self._base, "path": f"{self._base['path']}{name}/"}
