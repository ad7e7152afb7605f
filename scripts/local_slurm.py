"""A cluster of Slurm on this machine, of one node, for tests: Debian's munge, slurmctld, slurmd."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from scripts.local_server import free_port

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "sinfo")
_SECONDS = 60.0
# No cgroups and no accounting, which a container has not; a job that is requeued may start at once.
_CONFIGURATION = """
ClusterName=local
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SchedulerType=sched/builtin
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus}
PartitionName=all Nodes=ALL Default=YES State=UP
"""


def missing() -> list[str]:
    """The programs of Slurm that this machine lacks."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


@contextlib.contextmanager
def slurm(folder: Path) -> Iterator[dict[str, str]]:
    """Runs a cluster; gives the environment in which `sbatch` and `scontrol` find it.

    Args:
      folder: an empty one, for its state and its logs; only the user may write in it.

    Raises:
      RuntimeError: it does not start.
    """
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    host = socket.gethostname().split(".")[0]
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    (folder / "slurm.conf").write_text(
        _CONFIGURATION.format(
            folder=folder,
            host=host,
            user=user,
            controller_port=free_port(),
            node_port=free_port(),
            cpus=os.cpu_count(),
        )
    )
    environment = {"SLURM_CONF": str(folder / "slurm.conf")}
    munge = ["munged", "--foreground", "--force", f"--key-file={key}"]
    munge += [f"--{name}={folder}/munge.{name}" for name in ("socket", "pid-file", "log-file")]
    munge += [f"--seed-file={folder}/munge.seed"]
    with contextlib.ExitStack() as stack:
        for program in (munge, ["slurmctld", "-D"], ["slurmd", "-D"]):
            stack.enter_context(_running(program, environment, folder))
        _await_idle(environment, folder)
        yield environment


@contextlib.contextmanager
def _running(program: list[str], environment: dict[str, str], folder: Path) -> Iterator[None]:
    with (folder / f"{program[0]}.out").open("wb") as file:
        process = subprocess.Popen(program, env=os.environ | environment, stdout=file, stderr=file)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _await_idle(environment: dict[str, str], folder: Path) -> None:
    command = ["sinfo", "--noheader", "--format=%t"]
    end = time.monotonic() + _SECONDS
    while True:
        found = subprocess.run(
            command, env=os.environ | environment, capture_output=True, text=True
        )
        if found.stdout.strip() == "idle":
            return
        if time.monotonic() > end:
            logs = "\n".join(path.read_text()[-1000:] for path in sorted(folder.glob("*.out")))
            raise RuntimeError(f"Slurm does not start: {found.stdout}{found.stderr}\n{logs}")
        time.sleep(0.2)
