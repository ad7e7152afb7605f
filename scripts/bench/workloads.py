"""The inputs of both sides: a network, its weights, images and labels, all from one seed."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx

from signsal_jax import models
from signsal_jax.models.pretrained import flatten_variables

SEED = 42
NUM_CLASSES = 10


class Workload(NamedTuple):
    """A network of the zoo and the batch it is given."""

    network: str
    batch: int
    size: int

    @property
    def name(self) -> str:
        """A short name, such as `cnn-32`."""
        return f"{self.network}-{self.size}"

    @property
    def description(self) -> str:
        """A description for tables, such as `cnn 128×32×32`."""
        return f"{self.network} {self.batch}×{self.size}×{self.size}"


def seeded_arrays(shapes: Mapping[str, tuple[int, ...]], seed: int = SEED) -> dict[str, np.ndarray]:
    """Weights, by path, that keep activations and gradients of order one through every layer."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for path in sorted(shapes):
        shape, kind = shapes[path], path.rpartition(".")[2]
        if kind == "kernel":
            array = rng.standard_normal(shape) * math.sqrt(2 / math.prod(shape[:-1]))
        elif kind in ("bias", "mean"):
            array = 0.1 * rng.standard_normal(shape)
        else:
            array = rng.uniform(0.5, 1.5, shape)
        arrays[path] = array.astype(np.float32)
    return arrays


def images_and_labels(workload: Workload, seed: int = SEED) -> tuple[np.ndarray, np.ndarray]:
    """Images `[b, size, size, 3]` in [0, 1], coarse patches under noise, and labels `[b]`.

    The patches make the images differ enough for a network to tell them apart.
    """
    rng = np.random.default_rng(seed)
    batch, size = workload.batch, workload.size
    patches = rng.uniform(size=(batch, 4, 4, 3)).repeat(-(-size // 4), 1).repeat(-(-size // 4), 2)
    noise = rng.uniform(size=(batch, size, size, 3))
    images = 0.75 * patches[:, :size, :size] + 0.25 * noise
    return images.astype(np.float32), rng.integers(NUM_CLASSES, size=batch, dtype=np.int32)


def seeded_network(
    workload: Workload, num_classes: int = NUM_CLASSES
) -> tuple[nnx.Module, dict[str, np.ndarray]]:
    """The zoo's network with the seeded weights, and those weights by dotted path."""
    graph, state = nnx.split(nnx.eval_shape(lambda: models.create(workload.network, num_classes)))
    shapes = {path: leaf.shape for path, leaf in flatten_variables(nnx.to_pure_dict(state)).items()}
    arrays = seeded_arrays(shapes)
    return nnx.merge(graph, _filled(state, arrays)), arrays


def _filled(state: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    def fill(path: tuple, leaf: Any) -> Any:
        return leaf.replace(jnp.asarray(arrays[".".join(str(key) for key in path)]))

    return nnx.map_state(fill, state)
