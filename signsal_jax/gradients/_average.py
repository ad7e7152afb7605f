"""The mean of the gradients at several places around each image or on the way to it."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from signsal_jax._jaxpr import run_once
from signsal_jax._precision import at_least_float32, matmul_precision
from signsal_jax._types import ApplyFn, Gradients, Images, Logits, Variables
from signsal_jax._vma import varying_like
from signsal_jax.gradients._estimator import Pullback
from signsal_jax.gradients._plain import Plain


@dataclasses.dataclass(frozen=True)
class Places:
    """Where the gradients of an average are taken, and what becomes of them.

    Attributes:
      values: an array or a pytree of arrays, one place per index of the first axis.
      move: a function from one place to the images there.
      weigh: a function from one place and the gradient there to what is averaged.
      finish: a function of the average.
    """

    values: Any
    move: Callable[[Any], Images]
    weigh: Callable[[Any, Gradients], Gradients] = lambda place, gradient: gradient
    finish: Callable[[Gradients], Gradients] = lambda mean: mean


class Averaged:
    """The base of the estimators that average plain gradients; they only say where."""

    linear = True

    def places(self, images: Array) -> Places:
        raise NotImplementedError

    def pullback(
        self, apply_fn: ApplyFn, variables: Variables, places: Places, settings: dict[str, Any]
    ) -> Pullback:
        return mean_pullback(apply_fn, variables, places, settings)

    def __call__(
        self,
        apply_fn: ApplyFn,
        variables: Variables,
        images: Images,
        /,
        *,
        output: str = "logits",
        precision: str | None = "highest",
    ) -> tuple[Logits, Pullback]:
        images = jnp.asarray(images)
        with matmul_precision(precision):
            logits = apply_fn(variables, images)
        settings = {"output": output, "precision": precision}
        return logits, self.pullback(apply_fn, variables, self.places(images), settings)


def mean_pullback(
    apply_fn: ApplyFn, variables: Variables, places: Places, settings: dict[str, Any]
) -> Pullback:
    """Averages the plain pullbacks at the places, one at a time.

    The pullback loops over the places and repeats the forward pass at each, so that it only ever
    holds the activations of one place. Classes that are pulled back together by `jax.vmap` share
    that forward pass.
    """
    count = len(jax.tree.leaves(places.values)[0])
    first = jax.tree.map(lambda leaf: leaf[0], places.values)

    def pullback_at(place: Any) -> Pullback:
        pullback = Plain()(apply_fn, variables, places.move(place), **settings)[1]
        return lambda cotangent: places.weigh(place, pullback(cotangent))

    if count == 1:  # needs no more memory than the loop, and repeats no forward pass
        alone = pullback_at(first)
        return lambda cotangent: places.finish(alone(cotangent))

    def pullback(cotangent: Any) -> Gradients:
        def at(place: Any) -> Gradients:
            return pullback_at(place)(cotangent)

        def add(total: Gradients, place: Any) -> tuple[Gradients, None]:
            return total + at(place).astype(total.dtype), None

        one = jax.eval_shape(at, first)
        # Start the sum at -0: adding it changes no number, while 0 + -0 would lose the sign.
        nothing = jnp.full(one.shape, -0.0, at_least_float32(one.dtype))
        sum_over = functools.partial(jax.lax.scan, add)
        total, _ = run_once(sum_over, varying_like(nothing, one), places.values)
        return places.finish((total / count).astype(one.dtype))

    return pullback
