"""The processes of a study: they share its folder and nothing else, so each knows who is gone.

Process i of n computes the chunks i, i + n, ...: no step needs another process, and a collective
or a barrier would only let the death of one hang or end the others. Instead each process writes
`processes/NUMBER.json` every few seconds. Whoever is done with its own chunks waits until all are
committed, or until those with chunks left have failed, stopped, or given no sign for a minute.

An unfinished study raises `UnfinishedError`, which ends `signsal` with exit status 75.
"""

import contextlib
import itertools
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Collection
from typing import Any

import jax

from signsal_jax import _files
from signsal_jax.study._folder import Folder, StudyError

PROCESSES = "processes"
BEAT_SECONDS = 5.0
GONE_SECONDS = 60.0
"""Some shared file systems show a change only after half a minute."""
_POLL_SECONDS = 1.0
RUNNING, FINISHED, STOPPED, FAILED = "running", "finished", "stopped", "failed"


class UnfinishedError(StudyError):
    """A study that was stopped, or some of whose processes are gone; the same command goes on."""


def unfinished(
    folder: Folder, missing: Collection[int], chunks: int, gone: dict[int, str]
) -> UnfinishedError:
    """The error of a study that ends with chunks missing, for the reasons that `wait` gave."""
    done = f"{chunks - len(missing)} of {chunks} chunks"
    if not gone:
        return UnfinishedError(
            f"study {folder}: stopped at {done}; the same command goes on from there"
        )
    return UnfinishedError(
        f"study {folder}: {done} are committed, and nobody is at work on the rest (the first is "
        f"{min(missing)}): {'; '.join(gone.values())}. Start the same command again, for each "
        "process or for one alone: every committed chunk is kept"
    )


def join(processes: int | None = None, process: int | None = None) -> tuple[int, int]:
    """This process's number among those of a study, and how many they are.

    Args:
      processes: how many processes were started; None on a TPU pod or where else
        `jax.distributed.initialize()` finds it out.
      process: which of them this is, from 0.

    Raises:
      ValueError: only one of the two, or a number that is none of 0 to processes - 1.
    """
    if processes is None and process is None:
        jax.distributed.initialize()
        jax.local_devices()  # made while connected, they know their process
        # Nothing is computed together. Connected, the death of one process would end all.
        jax.distributed.shutdown()
        return jax.process_index(), jax.process_count()
    if processes is None or process is None or not 0 <= process < processes:
        raise ValueError(
            "processes, process: expected how many there are and the number of this one, from 0 "
            f"to one less, got {processes} and {process}"
        )
    return process, processes


def _name(process: int) -> str:
    return f"{PROCESSES}/{process:05}.json"


class Fellows:
    """This process among those of a study; while open, it shows the others that it lives.

    Args:
      folder: of the study.
      process: this one's number.
      processes: how many there are.
    """

    def __init__(self, folder: Folder, process: int, processes: int):
        self._folder, self.process, self.processes = folder, process, processes
        self._beats, self._state = itertools.count(), RUNNING
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        # What each process showed last, and when that was new to us.
        self._seen: dict[int, tuple[bytes | None, float]] = {}
        self._before: list[bytes | None] = []

    def __enter__(self) -> "Fellows":
        if self.processes > 1:
            # Files of an earlier start tell nothing of this one.
            self._before = self._folder.read([_name(each) for each in range(self.processes)])
            self._seen = {
                each: (content, time.monotonic()) for each, content in enumerate(self._before)
            }
            self._show()
            self._thread.start()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: object) -> None:
        if self.processes > 1:
            self._ended.set()
            self._thread.join()
            if error is not None:
                self._state = FAILED
            with contextlib.suppress(OSError, ValueError):  # then the others wait a minute
                self._show(f"{type(error).__name__}: {error}" if error else "")

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError, ValueError):
                self._show()

    def _show(self, words: str = "") -> None:
        fields = {
            "process": self.process,
            "processes": self.processes,
            "state": self._state,
            "words": words,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "time": time.time(),
            "beat": next(self._beats),
        }
        self._folder.write(_name(self.process), _files.json_text(fields))

    def wait(
        self, missing: Callable[[], Collection[int]], stop: Callable[[], bool]
    ) -> dict[int, str]:
        """Waits for the chunks of the others.

        Args:
          missing: gives the chunks that are not committed.
          stop: asked again and again; true ends the wait.

        Returns:
          Which processes have left chunks undone, and why each is thought to be gone; none where
          every chunk is committed, or this process was asked to stop.
        """
        self._state = FINISHED
        while chunks := missing():
            owners = {chunk % self.processes for chunk in chunks}
            if stop() or self.process in owners:
                self._state = STOPPED
                return {}
            left = {each: why for each in sorted(owners) if (why := self._why_gone(each))}
            if len(left) == len(owners) and missing():  # what was committed meanwhile counts
                return left
            time.sleep(_POLL_SECONDS)
        return {}

    def _why_gone(self, process: int) -> str | None:
        content = self._folder.read([_name(process)])[0]
        if content != self._seen[process][0]:
            self._seen[process] = content, time.monotonic()
        try:
            shown = json.loads(content or b"{}")
            place = f"pid {shown['pid']} on {shown['host']}"
            state, words = shown["state"], shown["words"]
        except (ValueError, TypeError, KeyError):
            place, state, words = "never seen", None, ""
        if content != self._before[process] and state in (FINISHED, STOPPED, FAILED):
            return f"process {process} ({place}) {state}{words and f' with {words}'}"
        if time.monotonic() - self._seen[process][1] > GONE_SECONDS:
            return f"process {process} ({place}) has given no sign for {GONE_SECONDS:.0f} s"
        return None
