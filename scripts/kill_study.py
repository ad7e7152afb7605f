"""Lets workers of a study come, sleep, stop and die at random, and compares with one left alone.

    python scripts/kill_study.py --data-dir DIR

Up to --workers processes run the same `signsal study` in one folder. At random moments one of them
gets SIGKILL, SIGTERM, or SIGSTOP for longer than the others wait for a sign, and new ones start.
Requires the same bits as in a study left alone, that no committed chunk is lost or written again,
and that every worker that was not killed ends with status 0, or 75 after SIGTERM. A finished study
is followed by another in a new folder until all disturbances are done. Writes
scripts/results/kill_study.json. Takes about half an hour on 2 cores.
"""

import collections
import dataclasses
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from signsal_jax import _files, _provenance, open_study
from signsal_jax.study import STORABLE

GONE_SECONDS = 6.0  # in place of a minute, so that workers fall asleep for longer than that
SIGNSAL = [sys.executable, "-c", "import sys; from signsal_jax.cli import main; sys.exit(main())"]
_IMPATIENT = (
    "import sys; from signsal_jax.study import _workers as w; "
    f"w.GONE_SECONDS, w.BEAT_SECONDS = {GONE_SECONDS}, {GONE_SECONDS / 12}; "
    "from signsal_jax.cli import main; sys.exit(main())"
)
KINDS = (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP)
UNFINISHED = 75


@dataclasses.dataclass(frozen=True)
class KillStudy:
    """Disturb the workers of studies at random moments, and compare with a study left alone."""

    data_dir: Path | None = None
    """Folder of the prepared TFDS sets (default: TFDS's own folder)."""
    images: int = 2000
    """Number of CIFAR-10 test images."""
    chunk: int = 16
    """Images committed together."""
    workers: int = 8
    """At most so many processes at a time."""
    disturbances: int = 100
    """Number of signals in all."""
    seed: int = 0
    """Seed of the random moments, workers and signals."""
    runs: Path = Path("runs/kill_study")
    """Folder for the studies, a new one."""
    out: Path = Path(__file__).parent / "results" / "kill_study.json"
    """The file to write."""


def commits(out: Path) -> dict[str, tuple[int, int]]:
    """By the name of each commit's file, its inode and the time at which it was written."""
    found = {}
    for path in out.glob("commits/[0-9]*.json"):
        status = path.stat()
        found[path.name] = (status.st_ino, status.st_mtime_ns)
    return found


class Workers:
    """Processes that run the same study; what each of them was sent is remembered.

    Args:
      command: that of each.
      out: the study's folder.
      most: at most so many at a time.
      rng: chooses.
    """

    def __init__(self, command: Sequence[str], out: Path, most: int, rng: random.Random):
        self._command, self._out, self._most, self._rng = command, out, most, rng
        self._running: list[subprocess.Popen[bytes]] = []
        self._sent: dict[int, signal.Signals] = {}
        self._asleep: dict[int, float] = {}
        self._committed: dict[str, tuple[int, int]] = {}
        self.counts: collections.Counter[str] = collections.Counter()

    def start(self) -> None:
        process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self._running.append(process)
        self.counts["started"] += 1

    def look(self) -> bool:
        """Checks who ended and what is committed; wakes those who slept enough.

        Returns:
          Whether a worker has seen the study to its end.

        Raises:
          RuntimeError: a worker ended otherwise than its signal explains, or a committed chunk was
            lost or written again.
        """
        now = commits(self._out)
        if not self._committed.items() <= now.items():
            raise RuntimeError("a committed chunk was lost or written again")
        self._committed = now
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
        return done

    def _check_end(self, process: subprocess.Popen[bytes]) -> None:
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
    command: Sequence[str], out: Path, most: int, disturbances: int, rng: random.Random
) -> dict[str, int]:
    """Runs a study to its end with workers that are disturbed so often, or until it is done.

    Returns:
      How many workers were started, and how often each signal was sent.

    Raises:
      RuntimeError: as `Workers.look`.
    """
    workers, pause = Workers(command, out, most, rng), 0.0
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


def differing(out: Path, other: Path) -> list[str]:
    """Names of the arrays, or "summary", in which two finished studies differ in any bit."""
    one, two = open_study(out), open_study(other)
    names = sorted(one.arrays().keys() | two.arrays().keys())
    pairs = {
        name: [np.asarray(store.arrays()[name]).tobytes() for store in (one, two)] for name in names
    }
    different = [name for name, (first, second) in pairs.items() if first != second]
    return different + ["summary"] * (one.merge() != two.merge())


def run(command: KillStudy) -> dict[str, Any]:
    """Runs the whole trial; also writes the result to `command.out`."""
    if command.runs.exists():
        raise ValueError(f"--runs: expected a new folder, {command.runs} exists")
    command.runs.mkdir(parents=True)

    def study(out: Path, start: Sequence[str]) -> list[str]:
        line = [*start, "study", "--dataset", "cifar10", "--model", "cnn-cifar10"]
        line += ["--images", str(command.images), "--chunk", str(command.chunk)]
        line += ["--store", *STORABLE, "--out", str(out)]
        return line + (["--data-dir", str(command.data_dir)] if command.data_dir else [])

    undisturbed = command.runs / "undisturbed"
    subprocess.run(study(undisturbed, SIGNSAL), check=True, stdout=subprocess.DEVNULL)
    rng, trials, left = random.Random(command.seed), [], command.disturbances
    while left > 0:
        out = command.runs / f"disturbed-{len(trials)}"
        counts = disturbed(study(out, [*SIGNSAL[:2], _IMPATIENT]), out, command.workers, left, rng)
        left -= sum(counts.get(kind.name, 0) for kind in KINDS)
        trials.append({**counts, "differing": differing(out, undisturbed)})
    result = {
        "images": command.images,
        "chunk": command.chunk,
        "workers": command.workers,
        "seed": command.seed,
        "arrays": sorted(open_study(undisturbed).arrays()),
        "trials": trials,
        "versions": _provenance.versions(),
    }
    _files.write_json(command.out, result)
    return result


def main() -> int:
    command = tyro.cli(KillStudy, description=__doc__)
    try:
        trials = run(command)["trials"]
    except (ValueError, OSError, RuntimeError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for number, trial in enumerate(trials):
        counts = ", ".join(f"{key} {value}" for key, value in trial.items() if key != "differing")
        different = trial["differing"]
        verdict = "differs in " + ", ".join(different) if different else "equal"
        print(f"study {number}: {counts}: {verdict}")
    return 1 if any(trial["differing"] for trial in trials) else 0


if __name__ == "__main__":
    sys.exit(main())
