"""The files that start workers on clusters, as far as that goes without one."""

import os
import shlex
import signal
import subprocess
import time
from pathlib import Path

import kubernetes_validate
import pytest
import tyro
import yaml

from signsal_jax.cli.study import Study

LAUNCH = Path(__file__).parents[1] / "scripts" / "launch"


def parsed(arguments):
    """The options of `signsal study`; an unknown one ends the test."""
    return tyro.cli(Study, args=arguments)


def test_the_commands_in_the_files_are_ones_of_signsal():
    (job,) = yaml.safe_load((LAUNCH / "jobset.yaml").read_text())["spec"]["replicatedJobs"]
    (container,) = job["template"]["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["signsal", "study"]
    assert parsed(container["args"]).out == "gs://BUCKET/studies/cifar10"
    sky = yaml.safe_load((LAUNCH / "skypilot.yaml").read_text())
    line = sky["run"].replace("$STUDY", sky["envs"]["STUDY"]).replace('"$OUT"', "s3://b/d")
    words = shlex.split(line)
    assert words[:3] == ["exec", "signsal", "study"]
    assert parsed(words[3:]).out == "s3://b/d"


def test_the_jobs_of_the_jobset_are_ones_of_kubernetes():
    (job,) = yaml.safe_load((LAUNCH / "jobset.yaml").read_text())["spec"]["replicatedJobs"]
    whole = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "worker"}}
    whole |= job["template"]
    version = kubernetes_validate.latest_version()
    kubernetes_validate.validate(whole, version, strict=True)
    whole["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]["operators"] = "In"
    with pytest.raises(kubernetes_validate.ValidationError, match="operators"):
        kubernetes_validate.validate(whole, version, strict=True)


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Programs on the path that write down how they were called."""

    def make(name, body):
        path = tmp_path / name
        path.write_text(f'#!/bin/bash\necho "{name} $*" >> {tmp_path}/calls\n{body}\n')
        path.chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    make.calls = lambda: (tmp_path / "calls").read_text().splitlines()
    return make


@pytest.mark.parametrize("status", [0, 1, 75])
def test_slurm_starts_again_what_was_stopped_and_nothing_else(programs, status):
    programs("signsal", f"exit {status}")
    programs("scontrol", "")
    ended = subprocess.run([LAUNCH / "slurm.sh", "--out", "a b"])
    assert ended.returncode == status
    requeued = ["scontrol requeue 7"] * (status == 75)
    assert programs.calls() == ["signsal study --out a b", *requeued]


def test_slurm_starts_only_the_stopped_task_of_an_array_again(programs, monkeypatch):
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    programs("signsal", "exit 75")
    programs("scontrol", "")
    subprocess.run([LAUNCH / "slurm.sh"])
    assert programs.calls()[-1] == "scontrol requeue 7_3"


def test_slurm_passes_the_signal_on_and_waits(programs, tmp_path):
    programs("signsal", "trap 'sleep 0.3; exit 75' TERM; touch up; while :; do sleep 0.05; done")
    programs("scontrol", "")
    job = subprocess.Popen([LAUNCH / "slurm.sh"], cwd=tmp_path)
    while not (tmp_path / "up").exists():
        time.sleep(0.01)
    job.send_signal(signal.SIGTERM)
    assert job.wait(timeout=60) == 75
    assert programs.calls()[-1] == "scontrol requeue 7"


def test_gcloud_gets_every_option_as_it_was(programs):
    programs("gcloud", "")
    subprocess.run(
        [LAUNCH / "tpu_vm.sh", "name", "zone", "--out", "gs://b/a b", "--split", "$x"], check=True
    )
    (call,) = programs.calls()
    assert "ssh name --zone=zone --worker=all" in call
    line = call.split("--command=")[1]
    assert shlex.split(line)[:3] == ["signsal", "study", "--distributed"]
    assert shlex.split(line)[3:] == ["--out", "gs://b/a b", "--split", "$x"]
    assert subprocess.run([LAUNCH / "tpu_vm.sh", "name"], capture_output=True).returncode == 2
