"""Numerical precision: of float32 products, and of arithmetic in narrower types."""

import contextlib
from typing import Any

import jax
import jax.numpy as jnp


def matmul_precision(name: str | None) -> contextlib.AbstractContextManager[None]:
    """Sets `jax.default_matmul_precision`; None keeps the current setting (JAX would unset it).

    Raises:
      ValueError: a name that JAX does not know.
    """
    if name is None:
        return contextlib.nullcontext()
    try:
        return jax.default_matmul_precision(name)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "precision: expected None or a name that JAX knows, such as 'highest' or 'default', "
            f"got {name!r:.80}"
        ) from error


def current_matmul_precision() -> str | None:
    """Returns the current setting of `jax.default_matmul_precision`."""
    config: Any = jax.config
    return config.jax_default_matmul_precision


def at_least_float32(dtype: jax.typing.DTypeLike) -> jnp.dtype:
    """Returns the type itself if it is floating point of at least 32 bits, else float32."""
    wide = jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits >= 32
    return jnp.dtype(dtype if wide else jnp.float32)
