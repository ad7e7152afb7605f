"""Kills evaluations at random moments, restarts them, and compares with one left alone.

    python scripts/kill_evaluate.py --data-dir DIR

Runs `signsal evaluate` with SIGKILL at moments spread over the whole run, from the start of the
process to the writing of the report, and demands the same results.json as from a run left alone.
Writes scripts/results/kill_evaluate.json. About ten minutes on 2 cores.
"""

import dataclasses
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tyro

from scripts.disturb import commits
from scripts.kill_study import SIGNSAL
from signsal_jax import _files, _provenance

Command = Callable[[Path], Sequence[str]]


@dataclasses.dataclass(frozen=True)
class KillEvaluate:
    """Kill evaluations at random moments, resume them, and compare with one left alone."""

    data_dir: Path | None = None
    """Where the TFDS sets are prepared (default: TFDS's own folder)."""
    images: int = 1000
    """How many CIFAR-10 test images."""
    chunk: int = 16
    """Images committed together."""
    kills: int = 10
    """How many kills in all."""
    seed: int = 0
    """Of the random moments."""
    runs: Path = Path("runs/kill_evaluate")
    """Folder for the evaluations, a new one."""
    out: Path = Path(__file__).parent / "results" / "kill_evaluate.json"
    """The file to write."""


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def left_alone(command: Command, out: Path) -> float:
    """Runs an evaluation to its end; gives the seconds it took.

    Raises:
      RuntimeError: it failed.
    """
    start = time.monotonic()
    if code := _start(command(out)).wait():
        raise RuntimeError(f"the evaluation in {out} ended with {code}")
    return time.monotonic() - start


def disturb(
    command: Command, out: Path, kills: int, longest_wait: float, rng: random.Random
) -> list[dict[str, Any]]:
    """Starts an evaluation and kills it, again and again, until it is done or was killed enough.

    Args:
      command: gives the command for an evaluation in a folder.
      out: the folder.
      kills: at most so many.
      longest_wait: seconds after a start within which it is killed.
      rng: of the moments.

    Returns:
      For each kill, after how many seconds it came, how many chunks were committed by then, and
      whether results.json was there.
    """
    history = []
    while len(history) < kills:
        process = _start(command(out))
        wait = rng.uniform(0, longest_wait)
        try:
            process.wait(wait)
            break  # done
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        committed = len(commits(out / "study"))
        written = (out / "results.json").exists()
        history.append({"seconds": wait, "committed": committed, "results": written})
    return history


def trial(
    command: Command, folder: Path, kills: int, rng: random.Random
) -> tuple[list[list[dict[str, Any]]], list[str]]:
    """Disturbs as many evaluations as that number of kills takes.

    Returns:
      The kills of each evaluation, and the names of those that ended with other results.
    """
    seconds = left_alone(command, folder / "undisturbed")
    expected = (folder / "undisturbed" / "results.json").read_bytes()
    histories, different = [], []
    while (left := kills - sum(map(len, histories))) > 0:
        out = folder / f"killed-{len(histories)}"
        histories.append(disturb(command, out, left, seconds, rng))
        left_alone(command, out)
        if (out / "results.json").read_bytes() != expected:
            different.append(out.name)
    return histories, different


def main() -> int:
    options = tyro.cli(KillEvaluate, description=__doc__)
    if options.runs.exists():
        print(f"error: --runs: expected a new folder, {options.runs} exists", file=sys.stderr)
        return 1
    evaluate = [*SIGNSAL, "evaluate", "--dataset", "cifar10", "--model", "cnn-cifar10"]
    evaluate += ["--images", str(options.images), "--chunk", str(options.chunk)]
    if options.data_dir is not None:
        evaluate += ["--data-dir", str(options.data_dir)]
    histories, different = trial(
        lambda out: [*evaluate, "--out", str(out)],
        options.runs,
        options.kills,
        random.Random(options.seed),
    )
    result = {
        "images": options.images,
        "chunk": options.chunk,
        "seed": options.seed,
        "evaluations": histories,
        "different": different,
        "versions": _provenance.versions(),
    }
    _files.write_json(options.out, result)
    print(json.dumps(histories, indent=2))
    print(f"{sum(map(len, histories))} kills: {'differs' if different else 'equal'} {different}")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
