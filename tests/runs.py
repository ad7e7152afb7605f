"""Run folders made without training, and data sets in memory."""

import json
from pathlib import Path

import jax
import numpy as np
from flax import nnx

from signsal_jax import checkpoint, data, models


def random_variables(classes: int, channels: int, seed: int = 0):
    """A Basic CNN's variables, of a size at which every layer passes something on."""
    abstract = nnx.eval_shape(lambda: models.create("cnn", classes, in_features=channels))
    generator = np.random.default_rng(seed)

    def draw(leaf):
        fan_in = max(1, int(np.prod(leaf.shape[:-1])))
        return generator.normal(0, np.sqrt(2 / fan_in), leaf.shape).astype(np.float32)

    return jax.tree.map(draw, nnx.to_pure_dict(nnx.state(abstract)))


def make_run(folder: Path, class_names, image_shape, steps=(1,), variables=None, **config) -> Path:
    """A run folder as training leaves it: a configuration and checkpoints of a Basic CNN."""
    described = {
        "model": "cnn",
        "class_names": list(class_names),
        "image_shape": list(image_shape),
        "dataset_note": "Made of random numbers.",
        **config,
    }
    checkpoint.claim(folder, described)
    if variables is None:
        variables = random_variables(len(class_names), image_shape[2])
    with checkpoint.manager(folder) as opened:
        for step in steps:
            state = {"variables": variables, "opt_state": [np.zeros(3, np.float32)]}
            checkpoint.save(opened, step, state)
    return folder


def edit_config(run: Path, **changes) -> None:
    """Changes fields of a run's configuration; None deletes one."""
    path = run / checkpoint.CONFIG
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def random_dataset(count: int, shape, classes: int, seed: int = 0, split="test") -> data.Dataset:
    """Noise with labels in turn."""
    images = np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)
    names = tuple(f"class {label}" for label in range(classes))
    source = data.Arrays(images, np.arange(count, dtype=np.int32) % classes)
    return data.Dataset("noise:1.0.0", split, names, tuple(shape), source, "Noise, not pictures.")


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file under a folder, to show that nothing changed."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }
