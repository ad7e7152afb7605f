"""The mean of the gradients at several places around each image or on the way to it."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from signsal_jax._jaxpr import run_once
from signsal_jax._precision import at_least_float32
from signsal_jax._types import ApplyFn, Gradients, Images, Variables
from signsal_jax._vma import varying_like
from signsal_jax.gradients._estimator import Pullback
from signsal_jax.gradients._plain import Plain


def mean_pullback(
    apply_fn: ApplyFn,
    variables: Variables,
    move: Callable[[Any], Images],
    places: Any,
    *,
    output: str,
    precision: str | None,
) -> Pullback:
    """Averages the plain pullbacks of `move(place)` over the places, one at a time.

    The pullback loops over the places and repeats the forward pass at each, so that it only ever
    holds the activations of one place. Classes that are pulled back together by `jax.vmap` share
    that forward pass.

    Args:
      apply_fn: the classifier.
      variables: its weights.
      move: a function from one place to the images there.
      places: an array or a pytree of arrays, one place per index of the first axis.
      output: see `Estimator`.
      precision: see `Estimator`.
    """
    count = len(jax.tree.leaves(places)[0])
    first = jax.tree.map(lambda leaf: leaf[0], places)

    def pullback_at(place: Any) -> Pullback:
        settings = {"output": output, "precision": precision}
        return Plain()(apply_fn, variables, move(place), **settings)[1]

    if count == 1:  # needs no more memory than the loop, and repeats no forward pass
        return pullback_at(first)

    def pullback(cotangent: Any) -> Gradients:
        def at(place: Any) -> Gradients:
            return pullback_at(place)(cotangent)

        def add(total: Gradients, place: Any) -> tuple[Gradients, None]:
            return total + at(place).astype(total.dtype), None

        one = jax.eval_shape(at, first)
        # Start the sum at -0: adding it changes no number, while 0 + -0 would lose the sign.
        nothing = jnp.full(one.shape, -0.0, at_least_float32(one.dtype))
        sum_over = functools.partial(jax.lax.scan, add)
        total, _ = run_once(sum_over, varying_like(nothing, one), places)
        return (total / count).astype(one.dtype)

    return pullback
