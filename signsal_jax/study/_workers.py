"""The workers of a study: they share its folder and nothing else, so each sees who is alive.

Whoever runs a study in a folder is a worker of it, on whatever machine; any number of them may come
and go at any time. A worker writes `workers/ID.json` every few seconds. Another one takes it for
gone when the file says so, when it has not changed for a minute by the clock of the one that looks
(no two clocks are ever compared), or at once where both are on one machine and the system has let
go of the dead one's lock.
"""

import contextlib
import dataclasses
import itertools
import json
import os
import secrets
import socket
import threading
import time
from typing import Any

import jax

from signsal_jax import _files
from signsal_jax.study._place import Folder

WORKERS = "workers"
BEAT_SECONDS = 5.0
GONE_SECONDS = 60.0
"""Some shared file systems show a change only after half a minute."""
RUNNING, FAILED = "running", "failed"


def join_pod() -> int:
    """Gets this process its devices where several hosts of a pod must be started together.

    Returns:
      Its number on the pod.
    """
    jax.distributed.initialize()
    jax.local_devices()  # made while connected, they know their process
    # Nothing is computed together. Connected, the death of one process would end all.
    jax.distributed.shutdown()
    return jax.process_index()


@dataclasses.dataclass(frozen=True)
class Sign:
    """What a worker's file says of it."""

    worker: str
    state: str
    host: str
    pid: int
    time: float
    words: str = ""

    @property
    def place(self) -> str:
        return f"pid {self.pid} on {self.host}"


def _file(worker: str) -> str:
    return f"{WORKERS}/{worker}.json"


def _lock(worker: str) -> str:
    return f"{WORKERS}/{worker}.lock"


def parse_sign(worker: str, content: bytes | None) -> Sign | None:
    """The sign in a worker's file; None where there is no whole one."""
    try:
        fields = json.loads(content or b"")
        return Sign(
            worker,
            str(fields["state"]),
            str(fields["host"]),
            int(fields["pid"]),
            float(fields["time"]),
            str(fields["words"]),
        )
    except (ValueError, TypeError, KeyError):
        return None


def signs(folder: Folder) -> list[Sign]:
    """The last sign of every worker that has not ended in order."""
    names = [name for name in folder.names(WORKERS) if name.endswith(".json")]
    workers = [name.removesuffix(".json") for name in names if not name.startswith(".")]
    contents = folder.read([_file(worker) for worker in workers])
    found = map(parse_sign, workers, contents)
    return [sign for sign in found if sign is not None]


class Worker:
    """This process as a worker of a study; while open, it shows the others that it lives."""

    def __init__(self, folder: Folder):
        self._folder = folder
        self.name = secrets.token_hex(8)
        self._beats, self._state, self._words = itertools.count(), RUNNING, ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._locked = contextlib.ExitStack()
        # What each worker showed last, and when that was new to us.
        self._seen: dict[str, tuple[bytes | None, float]] = {}

    def __enter__(self) -> "Worker":
        self._locked.enter_context(self._folder.locked(_lock(self.name)))
        self._show()
        self._thread.start()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: object) -> None:
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(OSError, ValueError):  # then the others wait a minute
            if error is None:
                self._folder.delete([_file(self.name)])
            else:
                self._state, self._words = FAILED, f"{type(error).__name__}: {error}"
                self._show()
        self._locked.close()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError, ValueError):
                self._show()

    def _show(self) -> None:
        fields = {
            "state": self._state,
            "words": self._words,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "time": time.time(),
            "beat": next(self._beats),
        }
        self._folder.write(_file(self.name), _files.json_text(fields))

    def gone(self, worker: str) -> bool:
        """Whether another worker is known not to be at work any more."""
        if worker == self.name:
            return False
        content = self._folder.read([_file(worker)])[0]
        before, since = self._seen.setdefault(worker, (content, time.monotonic()))
        if content != before:
            since = time.monotonic()
            self._seen[worker] = content, since
        sign = parse_sign(worker, content)
        if sign is not None and sign.state == FAILED:
            return True
        # A lock says nothing across machines: not every file system carries it there.
        here = sign is not None and sign.host == socket.gethostname()
        if here and self._folder.is_unlocked(_lock(worker)):
            return True
        return time.monotonic() - since > GONE_SECONDS


def sweep(folder: Folder) -> None:
    """Removes what the workers of a finished study have left."""
    names = [name for name in folder.names(WORKERS) if not name.startswith(".")]
    folder.delete([f"{WORKERS}/{name}" for name in names])
