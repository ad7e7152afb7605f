"""A study by an array of two workers under a real Slurm, one of which is told to stop."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from scripts import local_slurm
from signsal_jax import open_study

SCRIPT = Path(__file__).parents[1] / "scripts" / "launch" / "slurm.sh"
MISSING = local_slurm.missing()


def wait_for(condition, seconds=120.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def task_of(sign):
    """The array's task whose worker wrote this sign of life; None if it is gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, json.JSONDecodeError):
        environment = Path(f"/proc/{json.loads(sign.read_text())['pid']}/environ").read_bytes()
        name = b"SLURM_ARRAY_TASK_ID="
        words = [word for word in environment.split(b"\0") if word.startswith(name)]
        return words[0].removeprefix(name).decode()


@pytest.mark.skipif(bool(MISSING), reason=f"needs Slurm and munge, lacks {', '.join(MISSING)}")
@pytest.mark.skipif(
    not os.environ.get("SIGNSAL_SLOW_TESTS"), reason="takes minutes: set SIGNSAL_SLOW_TESTS=1"
)
def test_an_array_of_two_workers_finishes_a_study_though_one_is_preempted(tmp_path):
    rng = np.random.default_rng(0)
    # So many that no worker is done before the other one has compiled.
    images = rng.integers(0, 256, (4096, 32, 32, 3)).astype(np.uint8)
    np.savez(tmp_path / "own.npz", images=images, labels=rng.integers(0, 10, len(images)))
    study = ["--dataset", tmp_path / "own.npz", "--model", "cnn-cifar10", "--chunk", "16"]
    study += ["--store", "maps", "shares", "--class-chunk", "2"]
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment |= {"JAX_PLATFORMS": "cpu"}
    cluster, out = tmp_path / "cluster", tmp_path / "out"
    cluster.mkdir()
    with local_slurm.slurm(cluster) as found:
        environment = os.environ | environment | found

        def run(*words):
            return subprocess.run(
                list(map(str, words)), env=environment, cwd=tmp_path, capture_output=True, text=True
            )

        def log(task):
            path = tmp_path / f"{task}.log"
            return path.read_text() if path.exists() else ""

        job = ["sbatch", "--parsable", "--array=0-1", f"--output={tmp_path}/%a.log", SCRIPT]
        submitted = run(*job, *study, "--out", out)
        assert submitted.returncode == 0, submitted.stderr
        number = submitted.stdout.strip()

        def of(task):
            return run("scontrol", "show", "job", f"{number}_{task}").stdout

        def is_at_work(task):
            return any(task_of(sign) == task for sign in (out / "workers").glob("*.json"))

        # Slurm gives the last task the number of the whole array: the other one must go on.
        wait_for(lambda: is_at_work("1"))
        # As Slurm does before it preempts.
        run("scancel", "--batch", "--signal=TERM", f"{number}_1")
        # One that is requeued waits two minutes, in case its node is lost.
        wait_for(lambda: "Restarts=1" in of(1))
        wait_for(lambda: "JobState=COMPLETED" in of(0))
        assert "Restarts=0" in of(0)
        assert not open_study(out).uncommitted(), log(0)
    command = ["signsal", "study", *study, "--out", tmp_path / "alone"]
    assert subprocess.run(command, env=environment).returncode == 0
    one, two = open_study(out), open_study(tmp_path / "alone")
    assert one.merge() == two.merge()
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(np.asarray(array), np.asarray(two.arrays()[name]), name)
