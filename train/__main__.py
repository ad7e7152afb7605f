"""Trains a network from the command line.

python -m train --dataset cifar10 --model cnn --out runs/cifar10-cnn
"""

import dataclasses
import inspect
import sys
from typing import Annotated

import jax
import tyro

from signsal_jax._cache import enable_compilation_cache
from signsal_jax.checkpoint import RunError
from signsal_jax.data import NotPreparedError
from train import expected, together
from train.config import TrainConfig
from train.loop import train


@dataclasses.dataclass(frozen=True)
class Processes:
    """Several processes that train one network together."""

    distributed: bool = False
    """Join the other processes of the training; on a TPU pod, run the same command on every
    host."""
    coordinator: str | None = None
    """With --distributed off a pod: HOST:PORT of process 0."""
    processes: int | None = None
    """With --coordinator: the number of processes."""
    process: int | None = None
    """With --coordinator: the number of this process, from 0."""

    def join(self) -> None:
        if self.distributed:
            jax.distributed.initialize(self.coordinator, self.processes, self.process)


def _options(
    config: Annotated[TrainConfig, tyro.conf.arg(name="")],
    processes: Annotated[Processes, tyro.conf.arg(name="")],
) -> tuple[TrainConfig, Processes]:
    return config, processes


def main() -> int:
    """Parses the command line and trains; user errors end in one line, not a traceback."""
    try:
        config, processes = tyro.cli(
            _options, prog="python -m train", description=inspect.getdoc(TrainConfig)
        )
        enable_compilation_cache()
        processes.join()
        if together.is_first() and (line := expected.line(config)):
            print(line, flush=True)
        accuracy = train(config)
    except (RunError, NotPreparedError, ValueError, ImportError, FloatingPointError, OSError) as e:
        print(f"train: {e}", file=sys.stderr)
        return 1
    if together.is_first():
        print(f"test accuracy {accuracy:.4f}, run folder {config.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
