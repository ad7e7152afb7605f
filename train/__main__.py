"""Trains a network from the command line.

python -m train --dataset cifar10 --model cnn --out runs/cifar10-cnn

With --debug, every error shows its traceback.
"""

import dataclasses
import inspect
import sys
from collections.abc import Sequence
from typing import Annotated

import jax
import tyro

from signsal_jax import _endings
from signsal_jax._cache import enable_compilation_cache
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


def _run(arguments: Sequence[str]) -> int:
    config, processes = tyro.cli(
        _options, prog="python -m train", description=inspect.getdoc(TrainConfig), args=arguments
    )
    enable_compilation_cache()
    processes.join()
    if together.is_first() and (line := expected.line(config)):
        print(line, flush=True)
    accuracy = train(config)
    if together.is_first():
        print(f"test accuracy {accuracy:.4f}, run folder {config.out}")
    return 0


def main() -> int:
    """Parses the command line and trains.

    Exit statuses: those of `signsal_jax._endings.run`, and 2 for a wrong option.
    """
    given = sys.argv[1:]
    arguments = [argument for argument in given if argument != "--debug"]
    return _endings.run("train", lambda: _run(arguments), debug=len(arguments) < len(given))


if __name__ == "__main__":
    sys.exit(main())
