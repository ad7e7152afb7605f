"""Workers of a study that are killed, stopped and put to sleep at random, and watched meanwhile."""

import collections
import functools
import random
import signal
import time
from collections.abc import Callable
from typing import Any, Protocol

from signsal_jax.cli import UNFINISHED
from signsal_jax.study._commits import COMMITS
from signsal_jax.study._folder import LocalFolder, open_folder

GONE_SECONDS = 6.0  # in place of a minute, so that workers fall asleep for longer than that
KINDS = (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP)
_LOOK_SECONDS = 1.0
_opened = functools.cache(open_folder)  # a bucket asks for credentials when it is opened


class Process(Protocol):
    """What is needed of `subprocess.Popen`."""

    pid: int

    @property
    def returncode(self) -> int | None: ...
    def poll(self) -> int | None: ...
    def send_signal(self, sig: int, /) -> None: ...
    def kill(self) -> None: ...
    def communicate(self) -> tuple[Any, bytes]: ...


def commits(out: Any) -> dict[str, Any]:
    """What shows that a commit's file is still the same one, by its name.

    In a folder that is its inode and the time at which it was written, in a bucket its content,
    which says when it was made.
    """
    folder = _opened(out)
    names = [name for name in folder.names(COMMITS) if name[0].isdigit()]
    if not isinstance(folder, LocalFolder):
        contents = folder.read([f"{COMMITS}/{name}" for name in names])
        return dict(zip(names, contents, strict=True))
    found = {}
    for name in names:
        status = (folder.root / COMMITS / name).stat()
        found[name] = (status.st_ino, status.st_mtime_ns)
    return found


class Workers:
    """Processes that run the same study; what each of them was sent is remembered.

    Args:
      begin: starts one.
      out: the study's folder.
      most: at most so many at a time.
      rng: chooses.
    """

    def __init__(self, begin: Callable[[], Process], out: Any, most: int, rng: random.Random):
        self._begin, self._out, self._most, self._rng = begin, out, most, rng
        self._running: list[Process] = []
        self._sent: dict[int, signal.Signals] = {}
        self._asleep: dict[int, float] = {}
        self._committed: dict[str, Any] = {}
        self._looked = 0.0
        self.counts: collections.Counter[str] = collections.Counter()

    def start(self) -> None:
        self._running.append(self._begin())
        self.counts["started"] += 1

    def look(self) -> bool:
        """Checks who ended and what is committed; wakes those who slept enough.

        Returns:
          Whether a worker has seen the study to its end.

        Raises:
          RuntimeError: a worker ended otherwise than its signal explains, or a commit was lost or
            written again.
        """
        done = False
        for process in [*self._running]:
            if self._asleep.get(process.pid, float("inf")) < time.monotonic():
                del self._asleep[process.pid]
                process.send_signal(signal.SIGCONT)
            if process.poll() is None:
                continue
            self._running.remove(process)
            self._check_end(process)
            done |= process.returncode == 0
        if done or time.monotonic() > self._looked + _LOOK_SECONDS:
            self._look_at_commits()
        return done

    def _look_at_commits(self) -> None:
        now = commits(self._out)
        if not self._committed.items() <= now.items():
            raise RuntimeError("a commit was lost or written again")
        self._committed, self._looked = now, time.monotonic()

    def _check_end(self, process: Process) -> None:
        sent = self._sent.get(process.pid)
        # Before its handler is there, SIGTERM ends a process at once.
        after = {
            signal.SIGKILL: {-signal.SIGKILL, 0},
            signal.SIGTERM: {-signal.SIGTERM, UNFINISHED, 0},
        }
        allowed = after.get(sent, {0}) if sent else {0}
        _, words = process.communicate()
        if process.returncode not in allowed:
            raise RuntimeError(
                f"a worker ended with {process.returncode} after {sent}: {words.decode()[-2000:]}"
            )

    def disturb(self) -> None:
        """Sends one worker a signal, and starts others."""
        awake = [each for each in self._running if each.pid not in self._sent]
        if awake:
            process, kind = self._rng.choice(awake), self._rng.choice(KINDS)
            process.send_signal(kind)
            self._sent[process.pid] = kind
            self.counts[kind.name] += 1
            if kind == signal.SIGSTOP:
                seconds = GONE_SECONDS * self._rng.uniform(1.2, 2)
                self._asleep[process.pid] = time.monotonic() + seconds
        for _ in range(self._rng.randint(0, 2)):
            if len(self._running) < self._most:
                self.start()

    def keep_one(self) -> None:
        """Starts a worker if there is none."""
        if not self._running:
            self.start()

    @property
    def disturbances(self) -> int:
        return sum(self.counts[kind.name] for kind in KINDS)

    def end(self) -> None:
        """Ends them all."""
        for process in self._running:
            process.kill()
            process.communicate()


def disturbed(
    begin: Callable[[], Process], out: Any, most: int, disturbances: int, rng: random.Random
) -> dict[str, int]:
    """Runs a study to its end with workers that are disturbed so often, or until it is done.

    Returns:
      How many workers were started, and how often each signal was sent.

    Raises:
      RuntimeError: as `Workers.look`.
    """
    workers, pause = Workers(begin, out, most, rng), 0.0
    try:
        workers.keep_one()
        while not workers.look():
            if time.monotonic() >= pause and workers.disturbances < disturbances:
                workers.disturb()
                pause = time.monotonic() + rng.uniform(0, 4)
            workers.keep_one()
            time.sleep(0.02)
    finally:
        workers.end()
    return dict(workers.counts)
