"""Workers of a study that share its chunks through its folder alone."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from signsal_jax.study import _leases, _workers
from signsal_jax.study._bucket import Bucket
from signsal_jax.study._folder import open_folder
from signsal_jax.study._leases import Lease, Leases, leases, sweep
from signsal_jax.study._workers import FAILED, Worker, signs


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(_workers, "GONE_SECONDS", 0.3)
    monkeypatch.setattr(_workers, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(_leases, "POLL_SECONDS", 0.01)


@pytest.fixture(params=["folder", "bucket"])
def folder(request, tmp_path):
    """Both kinds; the bucket's over TensorStore's driver for files."""
    if request.param == "folder":
        return open_folder(tmp_path)
    return Bucket("gs://b", {"driver": "file", "path": f"{tmp_path}/"})


def never():
    return False


class Chunks:
    """A study of so many chunks, of which some are committed."""

    def __init__(self, count):
        self.count, self.done = count, set()

    def left(self):
        return [chunk for chunk in range(self.count) if chunk not in self.done]

    def taken_by(self, folder, worker):
        return Leases(folder, worker, self.left, self.done.__contains__)


class Elsewhere(Worker):
    """A worker on another machine, whose clock is an hour off, and which dies when told to."""

    def _show(self):
        super()._show()
        file = f"workers/{self.name}.json"
        fields = json.loads(self._folder.read([file])[0])
        fields |= {"host": "elsewhere", "time": fields["time"] + 3600}
        self._folder.write(file, json.dumps(fields))

    def die(self):
        self._ended.set()
        self._thread.join()


def test_one_worker_takes_all_in_order(folder):
    chunks = Chunks(5)
    chunks.done.add(2)
    with Worker(folder) as worker, chunks.taken_by(folder, worker) as mine:
        found = []
        for chunk in mine.claims(never):
            found.append(chunk)
            assert mine.holds(chunk)
            chunks.done.add(chunk)
            mine.release(chunk)
    assert found == [0, 1, 3, 4]
    assert leases(folder) == {}
    assert folder.names("leases") == folder.names("workers") == []


def test_two_workers_never_hold_the_same_chunk(folder):
    chunks = Chunks(9)
    with Worker(folder) as a, Worker(folder) as b:
        one, two = chunks.taken_by(folder, a), chunks.taken_by(folder, b)
        of_one, of_two = one.claims(never), two.claims(never)
        turns = [next(of_one), next(of_two), next(of_two), next(of_one)]
        rest = [*of_one]
        assert sorted(turns + rest) == list(range(9))
        assert [*of_two] == []
        with one, two:
            pass  # both give back all that they hold
        assert sorted(chunks.taken_by(folder, a).claims(never)) == list(range(9))


def test_a_commit_that_came_between_is_seen(folder):
    chunks = Chunks(2)
    with Worker(folder) as worker:
        mine = Leases(folder, worker, lambda: [0, 1] if not chunks.done else [1], chunks.left)
        mine._is_committed = lambda chunk: chunks.done.add(0) or chunk == 0
        assert list(mine.claims(never)) == [1]
    assert set(leases(folder)) == {1}


def test_what_a_dead_worker_held_is_free_after_a_while(folder):
    chunks = Chunks(3)
    with Worker(folder) as worker:
        dead = Elsewhere(folder).__enter__()
        held = chunks.taken_by(folder, dead)
        assert next(held.claims(never)) == 0
        mine = chunks.taken_by(folder, worker)
        assert sorted(mine.claims(never)) == [1, 2]
        chunks.done |= {1, 2}
        time.sleep(0.5)  # it lives: its file changes, whatever its clock says
        assert list(mine.claims(never)) == []
        dead.die()
        mine.wait(never)
        assert list(mine.claims(never)) == [0]
        assert leases(folder)[0] == Lease(0, 1)
        # It was only asleep: what it computed is not its own any more.
        assert not held.holds(0)
        held.release(0)
        assert mine.holds(0)
        chunks.done.add(0)
        mine.release(0)
        assert set(leases(folder)) == {1, 2}


def test_a_process_that_is_killed_here_is_known_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(_workers, "GONE_SECONDS", 1000)
    code = (
        "import sys, time\n"
        "from signsal_jax.study._folder import open_folder\n"
        "from signsal_jax.study._workers import Worker\n"
        "Worker(open_folder(sys.argv[1])).__enter__()\n"
        "print('up', flush=True); time.sleep(100)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    folder = open_folder(tmp_path)
    with Worker(folder) as worker:
        assert process.stdout.readline() == "up\n"
        (other,) = (sign for sign in signs(folder) if sign.pid == process.pid)
        assert not worker.gone(other.worker)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert worker.gone(other.worker)
        assert not worker.gone(worker.name)


def test_a_worker_that_fails_says_why(folder):
    with pytest.raises(OSError, match="full"), Worker(folder) as failed:
        raise OSError("no space left: the disk is full")
    (sign,) = signs(folder)
    assert (sign.state, sign.words) == (FAILED, "OSError: no space left: the disk is full")
    with Worker(folder) as worker:
        assert worker.gone(failed.name)
    _workers.sweep(folder)
    assert signs(folder) == []


def test_waiting_ends_when_all_is_committed_or_when_told(folder):
    chunks = Chunks(1)
    with Worker(folder) as a, Worker(folder) as b:
        one, two = chunks.taken_by(folder, a), chunks.taken_by(folder, b)
        assert list(one.claims(never)) == [0]
        asked = iter(range(100))
        two.wait(lambda: next(asked) > 5)
        assert next(asked) == 7
        uncommitted = iter([[0], [0], [0], [0], [], [1]])
        two._uncommitted = lambda: next(uncommitted)
        two.wait(never)
        assert next(uncommitted) == [1]


def test_damaged_leases_hold_nobody_up_for_long(folder):
    chunks = Chunks(2)
    folder.create("leases/00000000.0000.json", "{")
    folder.create("leases/notes.txt", "mine")
    with Worker(folder) as worker, chunks.taken_by(folder, worker) as mine:
        assert list(mine.claims(never)) == [1]
        chunks.done.add(1)
        mine.wait(never)
        assert list(mine.claims(never)) == [0]
    sweep(folder)
    assert folder.names("leases") == ["notes.txt"]
