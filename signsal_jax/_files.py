"""Writing files so that each is either complete or absent."""

import contextlib
import errno
import json
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

INCOMPLETE = ".incomplete-"
"""The prefix of temporary files, which a killed process may leave behind."""
_LONGEST_SUFFIX = 32
_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def check_writable(folder: Path) -> None:
    """Raises OSError unless files can be created in `folder`: call it before the work."""
    folder = Path(folder).absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        raise NotADirectoryError(f"out: expected a folder, got the file {existing}")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise PermissionError(f"out: expected a folder that can be written to, got {existing}")


@contextlib.contextmanager
def _filled(path: Path, write: Callable[[Path], Any]) -> Iterator[Path]:
    """Yields a temporary file beside `path`, filled by `write` and synced; then deletes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: matplotlib and PIL read the format from it. The rest of the name is
    # dropped: with the prefix it could exceed the longest name that the file system allows.
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= _LONGEST_SUFFIX else ""
    temporary = path.parent / f"{INCOMPLETE}{secrets.token_hex(8)}{suffix}"
    # Created by open (not by tempfile), so that the umask determines the file's mode.
    temporary.open("xb").close()
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, write: Callable[[Path], Any]) -> Path:
    """Lets `write` fill a temporary file beside `path`, then renames that file to `path`.

    Whatever goes wrong (full disk, error, kill), `path` is the complete old or new file.
    """
    path = Path(path)
    with _filled(path, write) as temporary:
        temporary.replace(path)
    return path


def create_text(path: Path, text: str) -> bool:
    """Writes a text file unless `path` exists: of several writers at once, exactly one succeeds.

    The file is complete as soon as it appears, as with `write_atomically`.

    Returns:
      Whether this call created it.
    """
    path = Path(path)
    with _filled(path, lambda temporary: temporary.write_text(text, encoding="utf-8")) as temporary:
        try:
            os.link(temporary, path)  # unlike a rename, it never replaces
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            return _create_directly(path, text)
    return True


def _create_directly(path: Path, text: str) -> bool:
    """Creates a file without hard links: still exclusive, but briefly visible while incomplete."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        return False
    return True


def write_text(path: Path, text: str) -> Path:
    """Writes a text file atomically."""
    return write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> Path:
    """Writes JSON atomically, numbers in full precision; NaN is an error, not a silent null."""
    return write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Formats a value as the text of a JSON file."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"
