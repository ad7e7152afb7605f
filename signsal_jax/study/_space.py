"""What a full disk is called."""

import contextlib
import errno
from collections.abc import Iterator

from signsal_jax.study._place import Folder


@contextlib.contextmanager
def explained_if_full(folder: Folder, group: int) -> Iterator[None]:
    """Says of an error for want of space while a group is written what to do about it.

    Raises:
      OSError: no space left.
    """
    try:
        yield
    except (OSError, ValueError) as error:  # tensorstore raises ValueError for a full disk
        if getattr(error, "errno", None) != errno.ENOSPC and "No space left" not in str(error):
            raise
        raise OSError(
            f"study {folder}: no space left while writing group {group}. Free some and "
            "run the same command: everything committed is kept"
        ) from error
