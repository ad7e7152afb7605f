"""The precision of float32 products while a network is traced."""

import contextlib

import jax


def matmul_precision(name: str | None) -> contextlib.AbstractContextManager[None]:
    """`jax.default_matmul_precision`, where None keeps the setting around (JAX would unset it)."""
    return contextlib.nullcontext() if name is None else jax.default_matmul_precision(name)
