"""Preprocessing as part of the network."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
from flax import nnx
from jax import Array


class Normalize(nnx.Module):
    """A network preceded by the normalization that it was trained with.

    Takes pixels in [0, 1], like the rest of the library, so gradients, black and white refer to
    pixel space. Mean and standard deviation are constants, not weights: they are never trained.

    >>> import jax.numpy as jnp
    >>> Normalize(lambda x: x.mean((1, 2)), mean=[0.5], std=[0.25])(jnp.ones((1, 2, 2, 1))).item()
    2.0
    """

    def __init__(
        self, network: Callable[[Array], Array], *, mean: Sequence[float], std: Sequence[float]
    ):
        if len(mean) != len(std) or min(std) <= 0:
            raise ValueError(
                f"std: expected one positive value per channel, got {std} for mean {mean}"
            )
        self.network = network
        self.mean = tuple(float(m) for m in mean)
        self.std = tuple(float(s) for s in std)

    def __call__(self, images: Array) -> Array:
        mean = jnp.asarray(self.mean, images.dtype).reshape(1, 1, 1, -1)
        std = jnp.asarray(self.std, images.dtype).reshape(1, 1, 1, -1)
        return self.network((images - mean) / std)
