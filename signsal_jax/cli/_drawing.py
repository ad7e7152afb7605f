"""Figures and arrays of explained pictures, written beside the computation of the next ones."""

import concurrent.futures
import multiprocessing
import os
import signal
from collections.abc import Callable
from types import TracebackType
from typing import Any

from signsal_jax.report import write_explanation

# Starting a process costs as much as drawing this many figures.
_WORTH_A_PROCESS = 16
_MOST_PROCESSES = 4
_WAITING_PER_PROCESS = 4


class Drawing:
    """Calls `write_explanation` for many pictures, in other processes where that pays.

    Args:
      pictures: how many there will be.
      written: called, here, with the result entry of each picture whose files are written.
    """

    def __init__(self, pictures: int, written: Callable[[Any], None]):
        self._written = written
        self._waiting: dict[concurrent.futures.Future, Any] = {}
        self._pool = None
        if pictures >= _WORTH_A_PROCESS:
            self._workers = min(_MOST_PROCESSES, os.cpu_count() or 1)
            # Not forked: JAX's threads would be missing in the child.
            self._pool = concurrent.futures.ProcessPoolExecutor(
                self._workers, multiprocessing.get_context("spawn"), _ignore_interrupts
            )

    def add(self, entry: Any, *arguments: Any) -> None:
        """Has `write_explanation` called with these arguments; waits if too many wait."""
        if self._pool is None:
            write_explanation(*arguments)
            self._written(entry)
            return
        self._waiting[self._pool.submit(write_explanation, *arguments)] = entry
        self._collect(self._workers * _WAITING_PER_PROCESS)

    def _collect(self, allowed: int) -> None:
        while len(self._waiting) > allowed:
            done, _ = concurrent.futures.wait(
                self._waiting, return_when=concurrent.futures.FIRST_COMPLETED
            )
            for future in done:
                entry = self._waiting.pop(future)
                future.result()
                self._written(entry)

    def __enter__(self) -> "Drawing":
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Waits for what was added; after an error, for what was begun."""
        if self._pool is None:
            return
        try:
            if error is None:
                self._collect(0)
        finally:
            self._pool.shutdown(cancel_futures=True)
            for future, entry in self._waiting.items():
                if not future.cancelled() and future.exception() is None:
                    self._written(entry)


def _ignore_interrupts() -> None:
    """Ctrl-C reaches every process of the terminal; the first one ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
