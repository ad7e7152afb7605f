"""Puts the trained network of a run folder into the package, as safetensors.

python scripts/package_weights.py --run runs/cifar10-cnn --name cnn-cifar10
"""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import tyro
from flax import nnx
from safetensors.numpy import save_file

from signsal_jax import _files, models
from signsal_jax.checkpoint import load_run
from signsal_jax.models.pretrained import flatten_variables


@dataclasses.dataclass(frozen=True)
class Package:
    """Put the trained network of a run folder into the package."""

    run: Path
    """The run folder."""
    name: str
    """The name under which it is loaded."""


def main() -> None:
    """Writes signsal_jax/models/packaged/NAME.safetensors."""
    command = tyro.cli(Package)
    model = load_run(command.run)
    config = model.origin
    arrays = flatten_variables(nnx.to_pure_dict(model.variables))
    hidden = ("out", "data_dir")  # paths on the machine that trained it
    metadata = {
        "model": config["model"],
        "class_names": model.class_names,
        "input_shape": model.input_shape,
        "trained_on": f"{config['dataset_version']}. {config['dataset_note']}".strip(),
        "training": {key: value for key, value in config.items() if key not in hidden},
    }
    folder = Path(models.__file__).parent / "packaged"
    path = _files.write_atomically(
        folder / f"{command.name}.safetensors",
        lambda file: save_file(
            {key: np.asarray(value) for key, value in jax.device_get(arrays).items()},
            file,
        ),
    )
    _files.write_json(path.with_suffix(".json"), metadata)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
