"""A study by an array of two workers under a real Slurm, one of which is told to stop."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from scripts import local_slurm
from signsal_jax import open_study
from signsal_jax.study._commits import COMMITS

SCRIPT = Path(__file__).parents[1] / "scripts" / "launch" / "slurm.sh"
MISSING = local_slurm.missing()


def wait_for(condition, seconds=120.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


@pytest.mark.skipif(bool(MISSING), reason=f"needs Slurm and munge, lacks {', '.join(MISSING)}")
def test_an_array_of_two_workers_finishes_a_study_though_one_is_preempted(tmp_path):
    rng = np.random.default_rng(0)
    # So many that the first worker is far from done when the second one has compiled.
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

        def states():
            jobs = run("squeue", "--noheader", "--array", "--format=%T", "--jobs", number)
            return jobs.stdout.split()

        wait_for(lambda: len(list((out / "workers").glob("*"))) == 2)
        wait_for(lambda: any((out / COMMITS).glob("[0-9]*")))
        # As Slurm does before it preempts.
        run("scancel", "--batch", "--signal=TERM", f"{number}_0")
        # One that is requeued waits two minutes, in case its node is lost.
        shown = ("scontrol", "show", "job", f"{number}_0")
        wait_for(lambda: "Restarts=1" in run(*shown).stdout)
        wait_for(lambda: "RUNNING" not in states())
        assert not open_study(out).uncommitted(), log(1)
    command = ["signsal", "study", *study, "--out", tmp_path / "alone"]
    assert subprocess.run(command, env=environment).returncode == 0
    one, two = open_study(out), open_study(tmp_path / "alone")
    assert one.merge() == two.merge()
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(np.asarray(array), np.asarray(two.arrays()[name]), name)
