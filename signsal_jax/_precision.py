"""How precisely things are computed: products of float32, and arithmetic in narrower types."""

import contextlib
from typing import Any

import jax
import jax.numpy as jnp


def matmul_precision(name: str | None) -> contextlib.AbstractContextManager[None]:
    """`jax.default_matmul_precision`, where None keeps the setting around (JAX would unset it).

    Raises:
      ValueError: a name that JAX does not know.
    """
    if name is None:
        return contextlib.nullcontext()
    try:
        return jax.default_matmul_precision(name)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "precision: expected None or one of JAX's, such as 'highest', 'high' and 'default', "
            f"got {name!r:.80}"
        ) from error


def current_matmul_precision() -> str | None:
    """What `jax.default_matmul_precision` is set to here."""
    config: Any = jax.config
    return config.jax_default_matmul_precision


def at_least_float32(dtype: jax.typing.DTypeLike) -> jnp.dtype:
    """The type itself if it is float32 or wider, else (narrower, integer, boolean) float32."""
    wide = jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits >= 32
    return jnp.dtype(dtype if wide else jnp.float32)
