"""What a study asks of the place where it lies: small files by name, and a place for its arrays.

A file appears whole or not at all, and `create` makes it for one of many callers at once. A local
folder has both from renames and hard links; a bucket from its objects and from writes on the
condition that there is none yet.
"""

import abc
import contextlib
import os
from collections.abc import Sequence
from typing import Any


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
    def explained(self) -> contextlib.AbstractContextManager[None]:
        """Turns errors of the storage that a user can mend into a StudyError that says how."""

    @abc.abstractmethod
    def require_conditional_writes(self) -> None:
        """Raises a StudyError unless `create` and `replace` can do what they promise here."""

    @abc.abstractmethod
    def kvstore(self, name: str) -> dict[str, Any]:
        """A subfolder as TensorStore's key-value store."""


def encoded(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


def printable(path: Any) -> str:
    """A path for messages: bytes that are no UTF-8 are written as \\xff, for any stream."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
