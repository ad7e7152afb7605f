"""Flax NNX modules as pure functions."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from signsal_jax._types import ApplyFn, Variables


def from_nnx(model: nnx.Module) -> tuple[ApplyFn, Variables]:
    """Turns a Flax NNX classifier into a pure `apply_fn` and its variables, in inference mode.

    Args:
      model: a module called as `model(images) -> logits`. It is not changed: dropout and batch
        norm are switched to inference in a copy.

    Returns:
      `apply_fn(variables, images) -> logits` and the variables, a pytree of weights and batch
      statistics. The state of random generators stays inside the function.

    To train with a penalty on saliency, differentiate with respect to the weights only: call this
    inside a loss function of the module and use `flax.nnx.value_and_grad(loss)(model)`. An
    optimizer over all variables would also move the batch statistics.

    Raises:
      TypeError, ValueError: not a Flax NNX module, or one that cannot be called or has no
        variables.

    >>> import jax.numpy as jnp, signsal_jax
    >>> apply_fn, variables = signsal_jax.from_nnx(signsal_jax.models.create("cnn", 10))
    >>> apply_fn(variables, jnp.zeros((2, 32, 32, 3))).shape
    (2, 10)
    """
    if not isinstance(model, nnx.Module):
        raise TypeError(f"model: expected a flax.nnx.Module, got {type(model).__name__}")
    if not callable(model):
        raise TypeError(f"model: expected a module with __call__, got {type(model).__name__}")
    if not jax.tree.leaves(nnx.state(model)):
        raise ValueError(f"model: expected variables, got a {type(model).__name__} with none")
    inference = nnx.clone(model)
    inference.eval()
    graph, generators, variables = nnx.split(inference, nnx.RngState, ...)

    def apply_fn(variables: Any, images: Any, /) -> Array:
        # Copied: random draws must neither change these two nor leave tracers of jit in them.
        states = jax.tree.map(lambda leaf: leaf, (generators, variables))
        return nnx.merge(graph, *states)(jnp.asarray(images))

    return apply_fn, variables
