"""Training by several processes: only process 0 reads and writes the run folder."""

from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from signsal_jax.checkpoint import RunError

T = TypeVar("T")


def is_first() -> bool:
    """Whether this process is the one that reads and writes."""
    return jax.process_index() == 0


def on_first(action: Callable[[], T], like: T) -> T:
    """Runs `action` in process 0 and gives its result to every process.

    Args:
      action: called without arguments; returns a pytree of arrays and numbers.
      like: a pytree with the structure, shapes and dtypes of that result.

    Raises:
      RunError: in the other processes, when `action` failed. Process 0 raises the error itself.
    """
    if jax.process_count() == 1:
        return action()
    result, error = like, None
    if is_first():
        try:
            result = action()
        except Exception as raised:  # raised again below, once the others know of it
            error = raised
    if multihost_utils.broadcast_one_to_all(np.asarray(error is not None)):
        raise error or RunError("process 0 failed: see its message")
    return multihost_utils.broadcast_one_to_all(result)
