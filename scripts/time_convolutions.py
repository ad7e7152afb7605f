"""Times one convolution and its pullback on CPU: XLA's own, with and without exact ties.

    python scripts/time_convolutions.py --size 8 --channels 64 --features 64
    python scripts/time_convolutions.py --size 8 --limits _MIN_WINOGRAD_CHANNELS=1000

The second form overrides a limit of signsal_jax/nn/_choice.py, to compare the two sides of the
limit. The three are timed in turn, so that other work on the machine slows all of them alike, and
reported as medians.
"""

import dataclasses
import functools
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from signsal_jax import nn
from signsal_jax.nn import _choice


@dataclasses.dataclass(frozen=True)
class Options:
    """A convolution over square images."""

    batch: int = 32
    size: int = 16
    channels: int = 64
    features: int = 64
    window: int = 3
    strides: int = 1
    padding: int = 1
    limits: tuple[str, ...] = ()
    """NAME=NUMBER for each limit to override."""
    rounds: int = 20


def main(options: Options) -> None:
    for limit in options.limits:
        name, _, number = limit.partition("=")
        if not isinstance(getattr(_choice, name, None), int):
            raise ValueError(f"limits: expected a limit of {_choice.__name__}, got {name}")
        setattr(_choice, name, int(number))
    rng = np.random.default_rng(0)
    window, padding = options.window, options.padding
    images = rng.normal(size=(options.batch, options.size, options.size, options.channels))
    kernel = rng.normal(size=(window, window, options.channels, options.features))
    images, kernel = (jnp.asarray(array, jnp.float32) for array in (images, kernel))
    own = functools.partial(
        jax.lax.conv_general_dilated,
        window_strides=(options.strides,) * 2,
        padding=[(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    fast = functools.partial(nn.conv2d, strides=options.strides, padding=padding)
    convolutions = {
        "XLA's own": own,
        "exact ties": fast,
        "ties by rounding": functools.partial(fast, exact_ties=False),
    }
    calls = {}
    for name, convolve in convolutions.items():
        outputs = jax.eval_shape(convolve, images, kernel)
        cotangent = jnp.asarray(rng.normal(size=outputs.shape), jnp.float32)
        forward = jax.jit(convolve).lower(images, kernel).compile()

        def pull(cotangent: jax.Array, kernel: jax.Array, convolve=convolve) -> jax.Array:
            return jax.vjp(lambda images: convolve(images, kernel), images)[1](cotangent)[0]

        backward = jax.jit(pull).lower(cotangent, kernel).compile()
        calls[name, "forward"] = functools.partial(forward, images, kernel)
        calls[name, "pullback"] = functools.partial(backward, cotangent, kernel)
    times: dict[tuple[str, str], list[float]] = {key: [] for key in calls}
    for _ in range(options.rounds):
        for key, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            times[key].append(time.perf_counter() - start)
    for (name, way), seconds in times.items():
        print(f"{way:9s} {name:17s} {1e3 * statistics.median(seconds):8.2f} ms")


if __name__ == "__main__":
    main(tyro.cli(Options))
