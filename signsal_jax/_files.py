"""Files that are either whole or absent."""

import contextlib
import errno
import json
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

INCOMPLETE = ".incomplete-"
"""How the names of files begin that a kill may leave behind."""
_LONGEST_SUFFIX = 32
_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def check_writable(folder: Path) -> None:
    """Raises OSError unless files could be made in `folder`; said before work, not after it."""
    folder = Path(folder).absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        raise NotADirectoryError(f"out: expected a folder, got the file {existing}")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise PermissionError(f"out: expected a folder that can be written to, got {existing}")


@contextlib.contextmanager
def _filled(path: Path, write: Callable[[Path], Any]) -> Iterator[Path]:
    """A temporary file beside `path`, filled by `write` and durable; gone afterwards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: matplotlib and PIL read the format from it. The rest of the name does
    # not, since both together could be longer than a file system takes.
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= _LONGEST_SUFFIX else ""
    temporary = path.parent / f"{INCOMPLETE}{secrets.token_hex(8)}{suffix}"
    # Made by open, which leaves the file's mode to the umask.
    temporary.open("xb").close()
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, write: Callable[[Path], Any]) -> Path:
    """Lets `write` fill a temporary file beside `path`, then renames it there.

    Whatever goes wrong (full disk, error, kill), `path` is the old file or the new one, whole.
    """
    path = Path(path)
    with _filled(path, write) as temporary:
        temporary.replace(path)
    return path


def create_text(path: Path, text: str) -> bool:
    """Writes a text file unless something has that name: of many writers at once, one succeeds.

    The file appears whole, as by `write_atomically`.

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
    """Creates a file where there are no hard links: exclusive, but whole only after a moment."""
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
    """The text of a JSON file."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"
