"""Files that are either whole or absent."""

import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

_LONGEST_SUFFIX = 32


def check_writable(folder: Path) -> None:
    """Raises OSError unless files could be made in `folder`; said before work, not after it."""
    folder = Path(folder).absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        raise NotADirectoryError(f"out: expected a folder, got the file {existing}")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise PermissionError(f"out: expected a folder that can be written to, got {existing}")


def write_atomically(path: Path, write: Callable[[Path], Any]) -> Path:
    """Lets `write` fill a temporary file beside `path`, then renames it there.

    Whatever goes wrong (full disk, error, kill), `path` is the old file or the new one, whole.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: matplotlib and PIL read the format from it. The rest of the name does
    # not, since both together could be longer than a file system takes.
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= _LONGEST_SUFFIX else ""
    temporary = path.parent / f".incomplete-{secrets.token_hex(8)}{suffix}"
    # Made by open, which leaves the file's mode to the umask.
    temporary.open("xb").close()
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def write_text(path: Path, text: str) -> Path:
    """Writes a text file atomically."""
    return write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> Path:
    """Writes JSON atomically, numbers in full precision; NaN is an error, not a silent null."""
    return write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")
