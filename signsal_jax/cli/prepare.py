"""`signsal prepare`: download and prepare a data set."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from signsal_jax import data


@dataclasses.dataclass(frozen=True)
class Prepare:
    """Download and prepare a TFDS data set (extra `prepare`, which brings TensorFlow)."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """The TFDS name, such as cifar10."""
    data_dir: Path | None = None
    """Where to prepare it (default: TFDS's own folder)."""

    def run_command(self) -> int:
        data_dir = self.data_dir or data.default_data_dir()
        data.prepare(self.name, data_dir)
        print(f"{self.name} is prepared in {data_dir}")
        return 0
