"""Lets workers of studies come, sleep, stop and die at random, and compares with one left alone.

    python scripts/kill_study.py
    python scripts/kill_study.py --place s3 --images 600 --disturbances 50
    python scripts/kill_study.py --place gs --images 600 --disturbances 50

Up to --workers processes work on one study. At random moments one of them gets SIGKILL, SIGTERM, or
SIGSTOP for longer than the others wait for a sign, and new ones start. Requires the same bits as in
a study left alone, that nothing committed is lost or written again, and that every worker that was
not killed ends with status 0, or 75 after SIGTERM. A finished study is followed by another in a new
folder until all disturbances are done. The study is a small one, of `scripts/kill_worker.py`; at
s3 and gs it lies in a bucket of a server on this machine. Writes scripts/results/kill_study.json.
"""

import contextlib
import dataclasses
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from scripts import kill_worker
from scripts.disturb import GONE_SECONDS, KINDS, Process, disturbed
from scripts.local_gcs import gcs_server
from scripts.local_s3 import s3_server
from signsal_jax import _files, _provenance, open_study

_SERVERS = {"s3": s3_server, "gs": gcs_server}
SIGNSAL = [sys.executable, "-c", "import sys; from signsal_jax.cli import main; sys.exit(main())"]


@dataclasses.dataclass(frozen=True)
class KillStudy:
    """Disturb the workers of studies at random moments, and compare with a study left alone."""

    place: Literal["files", "s3", "gs"] = "files"
    """Where the studies lie."""
    images: int = 3000
    """Number of images of a study."""
    chunk: int = 8
    """Images computed together."""
    group: int = 3
    """Chunks committed together."""
    workers: int = 8
    """At most so many processes at a time."""
    disturbances: int = 500
    """Number of signals in all."""
    minutes: float = 120.0
    """Start no further study after so long."""
    seed: int = 0
    """Seed of the random moments, workers and signals."""
    out: Path = Path(__file__).parent / "results" / "kill_study.json"
    """The file whose entry of this place is written."""


class Forked:
    """A worker forked from a process that has imported everything and computed nothing."""

    def __init__(self, arguments: list[str], log: Path):
        self._log = log
        context = multiprocessing.get_context("forkserver")
        self._process = context.Process(target=kill_worker.forked, args=(arguments, str(log)))
        self._process.start()
        self.pid = self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, sig: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, sig)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self) -> tuple[None, bytes]:
        self._process.join()
        return None, self._log.read_bytes() if self._log.exists() else b""


def differing(out: Any, other: Any) -> list[str]:
    """Names of the arrays, or "summary", in which two finished studies differ in any bit."""
    one, two = open_study(out), open_study(other)
    names = sorted(one.arrays().keys() | two.arrays().keys())
    pairs = {
        name: [np.asarray(store.arrays()[name]).tobytes() for store in (one, two)] for name in names
    }
    different = [name for name, (first, second) in pairs.items() if first != second]
    return different + ["summary"] * (one.merge() != two.merge())


def run(command: KillStudy, folder: Path) -> dict[str, Any]:
    """Runs trials in a place; after each its results are written to `command.out`."""
    begun = time.monotonic()
    # Before the first worker is forked: what takes long at its start is done once.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder / "cache")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    multiprocessing.get_context("forkserver").set_forkserver_preload(["scripts.kill_worker"])
    root = str(folder) if command.place == "files" else f"{command.place}://bucket"

    def begin(out: str) -> Process:
        sizes = {"images": command.images, "chunk": command.chunk, "group": command.group}
        options = [f"--{name}={value}" for name, value in {**sizes, "gone": GONE_SECONDS}.items()]
        return Forked([out, *options], Path(tempfile.mkstemp(dir=folder, suffix=".log")[1]))

    undisturbed = f"{folder}/undisturbed"
    alone = begin(undisturbed)
    _, words = alone.communicate()
    if alone.returncode:
        raise RuntimeError(words.decode())
    rng, trials, left = random.Random(command.seed), [], command.disturbances
    result = {
        **{key: value for key, value in dataclasses.asdict(command).items() if key != "out"},
        "arrays": sorted(open_study(undisturbed).arrays()),
        "signals": 0,
        "trials": trials,
        "versions": _provenance.versions(),
    }
    while left > 0 and time.monotonic() < begun + 60 * command.minutes:
        out = f"{root}/disturbed-{len(trials)}"
        counts = disturbed(lambda out=out: begin(out), out, command.workers, left, rng)
        left -= sum(counts.get(kind.name, 0) for kind in KINDS)
        trials.append({**counts, "differing": differing(out, undisturbed)})
        result["signals"] = command.disturbances - left
        _record(command, result)
        print(f"{result['signals']} signals in {len(trials)} studies: {trials[-1]}", flush=True)
    return result


def _record(command: KillStudy, result: Mapping[str, Any]) -> None:
    found = json.loads(command.out.read_text()) if command.out.exists() else {}
    _files.write_json(command.out, {**found, command.place: result})


def main() -> int:
    command = tyro.cli(KillStudy, description=__doc__)
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        try:
            if command.place in _SERVERS:
                server = _SERVERS[command.place](folder / "server.log")
                os.environ |= stack.enter_context(server)
            trials = run(command, folder)["trials"]
        except (ValueError, OSError, RuntimeError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    return 1 if any(trial["differing"] for trial in trials) else 0


if __name__ == "__main__":
    sys.exit(main())
