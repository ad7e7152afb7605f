"""Repeatedly kills and restarts a study, and compares it with an undisturbed one.

    python scripts/kill_study.py --data-dir DIR

Sends SIGKILL to `signsal study` at random moments: to a study of one process, and to one of the
processes of a study of two. Requires the same bits as in a run left alone, and that no committed
chunk is computed again. Writes scripts/results/kill_study.json. Takes about fifteen minutes on 2
cores.
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
GRACE_SECONDS = 10  # for the surviving process to finish its chunk
SIGNSAL = [sys.executable, "-c", "import sys; from signsal_jax.cli import main; sys.exit(main())"]


@dataclasses.dataclass(frozen=True)
class KillStudy:
    """Kill a study at random moments, resume it, and compare with one left alone."""

    data_dir: Path | None = None
    """Folder of the prepared TFDS sets (default: TFDS's own folder)."""
    images: int = 2000
    """Number of CIFAR-10 test images."""
    chunk: int = 16
    """Images committed together."""
    kills: int = 20
    """Number of kills per study."""
    seed: int = 0
    """Seed of the random moments."""
    runs: Path = Path("runs/kill_study")
    """Folder for the studies."""
    out: Path = Path(__file__).parent / "results" / "kill_study.json"
    """The file to write."""


def commits(out: Path) -> dict[str, int]:
    """The time at which each committed chunk was written, by the name of its file."""
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

    Every fifth kill comes at any moment after the start. The others come soon after a new commit;
    otherwise there would be little to lose.

    Args:
      commands: returns the command of each process; called for each start.
      out: the study's folder.
      kills: number of kills.
      rng: chooses the moments and the processes to kill.
      longest_wait: seconds after the start within which every fifth kill comes.

    Returns:
      For each kill, the process's number and the numbers of chunks committed before and after.

    Raises:
      RuntimeError: a process ended by itself, so nothing was left to kill; or a committed chunk
        was written again.
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
      RuntimeError: one of them failed, or a committed chunk was written again.
    """
    before = commits(out)
    processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands()]
    codes = [process.wait() for process in processes]
    if any(codes):
        raise RuntimeError(f"the study ended with {codes}")
    _check_kept(before, commits(out))


def differing(out: Path, other: Path) -> list[str]:
    """Names of the arrays, or "summary", in which two finished studies differ in any bit."""
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
    """Runs the whole trial; also writes the result to `command.out`."""
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
