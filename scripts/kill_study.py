"""Kills a study again and again, restarts it each time, and compares it with an undisturbed one.

    python scripts/kill_study.py --data-dir DIR

Runs `signsal study` with SIGKILL at random moments, in one process and in two (one of which is
killed), and demands the same bits as from a run left alone, and that no committed chunk is ever
computed again. Writes scripts/results/kill_study.json. About fifteen minutes on 2 cores.
"""

import dataclasses
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from signsal_jax import _files, _provenance, open_study
from signsal_jax.study import STORABLE

Commands = Callable[[], Sequence[Sequence[str]]]
GRACE_SECONDS = 10  # for a process whose fellow was killed to finish its chunk
SIGNSAL = [sys.executable, "-c", "import sys; from signsal_jax.cli import main; sys.exit(main())"]


@dataclasses.dataclass(frozen=True)
class KillStudy:
    """Kill a study at random moments, resume it, and compare with one left alone."""

    data_dir: Path | None = None
    """Where the TFDS sets are prepared (default: TFDS's own folder)."""
    images: int = 2000
    """How many CIFAR-10 test images."""
    chunk: int = 16
    """Images committed together."""
    kills: int = 20
    """How often each study is killed."""
    seed: int = 0
    """Of the random moments."""
    runs: Path = Path("runs/kill_study")
    """Folder for the studies."""
    out: Path = Path(__file__).parent / "results" / "kill_study.json"
    """The file to write."""


def commits(out: Path) -> dict[str, int]:
    """When each committed chunk was written, by the name of its file."""
    return {path.name: path.stat().st_mtime_ns for path in out.glob("commits/[0-9]*.json")}


def _all_run(processes: Sequence[subprocess.Popen[bytes]]) -> bool:
    return all(process.poll() is None for process in processes)


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _check_kept(before: dict[str, int], after: dict[str, int]) -> None:
    if not before.items() <= after.items():
        raise RuntimeError("a committed chunk was lost or written again")


def disturb(
    commands: Commands, out: Path, kills: int, rng: random.Random, *, longest_wait: float = 8
) -> list[dict[str, Any]]:
    """Starts a study's processes and kills one of them, again and again.

    Every fifth time at any moment from the start on, else soon after a further commit, or there
    would be little left to lose.

    Args:
      commands: gives the command of each process, anew for each start.
      out: the study's folder.
      kills: how often.
      rng: of the moments, and of which process dies.
      longest_wait: seconds after a start within which it is killed at any moment.

    Returns:
      For each kill, which process it was, and how many chunks were committed before and after.

    Raises:
      RuntimeError: a process ended by itself: nothing was left to kill; or a chunk that was
        committed has been written again.
    """
    history = []
    for index in range(kills):
        before = commits(out)
        processes = [
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for command in commands()
        ]
        try:
            anywhere = index % 5 == 0
            while not anywhere and len(commits(out)) == len(before) and _all_run(processes):
                time.sleep(0.01)
            time.sleep(rng.uniform(0, longest_wait if anywhere else 1))
            chosen = rng.randrange(len(processes))
            alive = _all_run(processes)
            processes[chosen].kill()
            processes[chosen].wait()
        finally:
            _stop(processes)
        codes = [process.returncode for process in processes]
        if not alive or codes[chosen] != -signal.SIGKILL:
            raise RuntimeError(f"kill {index}: a process had ended before: {codes}")
        after = commits(out)
        _check_kept(before, after)
        history.append(
            {"process": chosen, "committed_before": len(before), "committed_after": len(after)}
        )
    return history


def finish(commands: Commands, out: Path) -> None:
    """Runs a study's processes to their end.

    Raises:
      RuntimeError: one of them failed; or a chunk that was committed has been written again.
    """
    before = commits(out)
    processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands()]
    codes = [process.wait() for process in processes]
    if any(codes):
        raise RuntimeError(f"the study ended with {codes}")
    _check_kept(before, commits(out))


def differing(out: Path, other: Path) -> list[str]:
    """The arrays, and "summary", in which two finished studies differ in any bit."""
    one, two = open_study(out), open_study(other)
    names = sorted(one.arrays().keys() | two.arrays().keys())
    pairs = {
        name: [np.asarray(store.arrays()[name]).tobytes() for store in (one, two)] for name in names
    }
    different = [name for name, (first, second) in pairs.items() if first != second]
    return different + ["summary"] * (one.merge() != two.merge())


def _commands(command: KillStudy, out: Path, processes: int) -> Commands:
    study = [*SIGNSAL, "study", "--dataset", "cifar10", "--model", "cnn-cifar10"]
    study += ["--images", str(command.images), "--chunk", str(command.chunk)]
    study += ["--store", *STORABLE, "--out", str(out)]
    if command.data_dir is not None:
        study += ["--data-dir", str(command.data_dir)]
    share = ["--processes", str(processes), "--process"]
    return lambda: [[*study, *share, str(index)] for index in range(processes)]


def run(command: KillStudy) -> dict[str, Any]:
    """The whole trial; what it found is also written to `command.out`."""
    if command.runs.exists():
        raise ValueError(f"--runs: expected a new folder, {command.runs} exists")
    command.runs.mkdir(parents=True)
    undisturbed = command.runs / "undisturbed"
    finish(_commands(command, undisturbed, 1), undisturbed)
    trials = []
    for processes in (1, 2):
        out = command.runs / f"killed-{processes}"
        commands = _commands(command, out, processes)
        history = disturb(commands, out, command.kills, random.Random(command.seed))
        finish(commands, out)
        trials.append(
            {"processes": processes, "kills": history, "differing": differing(out, undisturbed)}
        )
    result = {
        "images": command.images,
        "chunk": command.chunk,
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
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for trial in trials:
        verdict = "differs in " + ", ".join(trial["differing"]) if trial["differing"] else "equal"
        print(f"{trial['processes']} processes, {len(trial['kills'])} kills: {verdict}")
    return 1 if any(trial["differing"] for trial in trials) else 0


if __name__ == "__main__":
    sys.exit(main())
