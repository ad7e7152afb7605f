"""Leases: which worker computes which group, so that none is lost and few are computed twice.

A group is one chunk of images or several that share the objects they are stored in.
A lease is a file `leases/GROUP.TURN.json` that names its worker, made on the condition that there
is none: of many workers that want a group, one gets it. The newest turn holds. Where its worker is
gone, the next turn may be taken, on the same condition; so nothing is ever replaced, and a folder
needs no other conditional write. A worker that was only asleep finds the next turn and lets go.

Leases save work, they do not guard the numbers: a group is committed once (see `_commits`), with
the same bits whoever computes it.
"""

import json
import random
import re
import time
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from signsal_jax import _files
from signsal_jax.study._place import Folder
from signsal_jax.study._workers import Worker

LEASES = "leases"
POLL_SECONDS = 1.0
_NAME = re.compile(r"([0-9]{8,})\.([0-9]{4,})\.json")


class Lease(NamedTuple):
    """A turn at a group."""

    group: int
    turn: int

    @property
    def file(self) -> str:
        return f"{LEASES}/{self.group:08}.{self.turn:04}.json"


def leases(folder: Folder) -> dict[int, Lease]:
    """The newest lease of each group that has any."""
    found = sorted(
        Lease(int(match[1]), int(match[2]))
        for match in map(_NAME.fullmatch, folder.names(LEASES))
        if match
    )
    return {lease.group: lease for lease in found}


def holders(folder: Folder, found: Collection[Lease]) -> dict[int, str]:
    """The workers that hold leases, by group; without those that were given back meanwhile."""
    contents = folder.read([lease.file for lease in found])
    named = {}
    for lease, content in zip(found, contents, strict=True):
        if content is not None:
            try:
                named[lease.group] = str(json.loads(content)["worker"])
            except (ValueError, TypeError, KeyError):
                named[lease.group] = ""  # damaged: nobody's, so free after a minute
    return named


class Leases:
    """The groups that this worker takes, one after another.

    Args:
      folder: of the study.
      worker: this one.
      uncommitted: gives the groups that are not committed, in order.
      is_committed: whether a group is, by a look at the folder.
    """

    def __init__(
        self,
        folder: Folder,
        worker: Worker,
        uncommitted: Callable[[], list[int]],
        is_committed: Callable[[int], bool],
    ):
        self._folder, self._worker = folder, worker
        self._uncommitted, self._is_committed = uncommitted, is_committed
        self._held: dict[int, Lease] = {}

    def __enter__(self) -> "Leases":
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.delete([lease.file for lease in self._held.values()])
        self._held.clear()

    def claims(self, stop: Callable[[], bool]) -> Iterator[int]:
        """Takes and gives groups until none is free or `stop` says so."""
        while not stop() and (free := self._free()):
            for lease in free:
                if stop():
                    return
                if not self._take(lease):
                    break  # somebody is at work here: look again, and elsewhere
                yield lease.group

    def _free(self) -> list[Lease]:
        """The groups without a committed result or a living worker, with the turn to take."""
        taken = leases(self._folder)
        left = [group for group in self._uncommitted() if group not in self._held]
        workers = holders(self._folder, [taken[group] for group in left if group in taken])
        gone = {worker: self._worker.gone(worker) for worker in set(workers.values())}
        free = [
            Lease(group, taken[group].turn + 1 if group in taken else 0)
            for group in left
            if group not in workers or gone[workers[group]]
        ]
        if free and not all(gone.values()):
            # Others are at work: a start of one's own, so that two rarely want the same group.
            start = random.randrange(len(free))
            free = free[start:] + free[:start]
        return free

    def _take(self, lease: Lease) -> bool:
        text = _files.json_text({"worker": self._worker.name, "turn": lease.turn})
        if not self._folder.create(lease.file, text):
            return False
        self._held[lease.group] = lease
        if self._is_committed(lease.group):  # since the look; its lease is gone for that reason
            self.release(lease.group)
            return False
        return True

    def has(self, group: int) -> bool:
        """Whether this worker has taken a group and not let go of it."""
        return group in self._held

    def holds(self, group: int) -> bool:
        """Whether a group is still this worker's, by a look at the folder."""
        if group not in self._held:
            return False
        lease = self._held[group]
        following = lease._replace(turn=lease.turn + 1)
        mine, other = self._folder.read([lease.file, following.file])
        return mine is not None and other is None

    def release(self, group: int) -> None:
        """Lets go of a group, committed or not."""
        if group in self._held:
            self._folder.delete([self._held.pop(group).file])

    def wait(self, stop: Callable[[], bool]) -> None:
        """Waits until a group is free, all are committed, or `stop` says so."""
        while not stop() and self._uncommitted() and not self._free():
            time.sleep(POLL_SECONDS)


def sweep(folder: Folder) -> None:
    """Removes the leases of a finished study that dead workers have left."""
    folder.delete([lease.file for lease in leases(folder).values()])
