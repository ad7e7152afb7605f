"""The extrema of all classes by a loop on the host, which can report its progress."""

from collections.abc import Callable
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp
from jax import Array

from signsal_jax import _checks
from signsal_jax._types import ApplyFn, ClassExtrema, Images, Variables
from signsal_jax.gradients._chunks import in_chunks
from signsal_jax.gradients._extrema import resolve_target
from signsal_jax.gradients._linearize import (
    CPU_CLASSES,
    class_gradients,
    linearize,
    same_class_gradients,
)
from signsal_jax.gradients._rivals import resolve_rivals
from signsal_jax.gradients._running import (
    RunningExtrema,
    nan_where_not_finite,
    no_extrema,
    with_classes,
)


class HostedExtrema:
    """Computes `class_extrema`, and calls a function of the caller after every chunk of classes.

    There are two compiled programs. The first runs the forward pass once and returns the logits
    and the residuals that the pullback needs. The second, called once per chunk, pulls back the
    chunk's classes and updates the running extrema. Neither calls back into Python, so JAX's
    persistent compilation cache keeps both (it does not keep programs with callbacks). The numbers
    are those of `class_extrema`.

    Args:
      apply_fn: `apply_fn(variables, images) -> logits`, see `signsal_jax.ApplyFn`.
      class_chunk: classes pulled back in one call; None for all.
      target: as for `class_extrema`, as are rivals.
      settings: further arguments of `class_extrema`: output, precision, estimator.

    >>> import jax.numpy as jnp
    >>> from signsal_jax import gradients
    >>> def apply_fn(variables, images):
    ...     return images.sum((1, 2)) @ variables
    >>> extrema = gradients.HostedExtrema(apply_fn, class_chunk=2)
    >>> weights, images = jnp.asarray([[2.0, -1.0, 1.0]]), jnp.ones((1, 2, 2, 1))
    >>> float(extrema(weights, images, print).highest[0, 0, 0, 0])
    2
    1
    1.0
    """

    def __init__(
        self,
        apply_fn: ApplyFn,
        *,
        class_chunk: int | None = None,
        target: Any = "predicted",
        rivals: Any = "all",
        **settings: Any,
    ):
        _checks.check_class_chunk(class_chunk)
        self._chunk = class_chunk
        # For each shape and type of the images, the pullback as a program that takes residuals and
        # a cotangent. Tracing `start` adds it, tracing `update` reads it.
        pullbacks: dict[Any, jex.Jaxpr] = {}

        def start(variables: Variables, images: Images) -> Any:
            logits, pullback = linearize(apply_fn, variables, images, min_classes=2, **settings)
            program = jax.make_jaxpr(pullback)(jnp.zeros_like(logits))
            empty = no_extrema(images)
            pullbacks[jax.typeof(empty.gradient)] = program.jaxpr
            resolved = resolve_target(logits, target)
            others = resolve_rivals(rivals, logits, resolved)
            if others is None:
                compared = jnp.arange(logits.shape[1], dtype=jnp.int32)
            else:
                compared = jnp.concatenate([resolved[None], others.T])
            return logits, resolved, others, compared, empty, program.consts

        def update(
            residuals: list[Array], logits: Array, target: Array, extrema: Any, classes: Array
        ) -> RunningExtrema:
            program = jex.ClosedJaxpr(pullbacks[jax.typeof(extrema.gradient)], residuals)

            def pullback(cotangent: Array) -> Array:
                return jex.jaxpr_as_fun(program)(cotangent)[0]

            def step(extrema: RunningExtrema, some: Array) -> tuple[RunningExtrema, None]:
                pull_back = same_class_gradients if some.ndim == 1 else class_gradients
                gradients = pull_back(pullback, some, logits)
                return with_classes(extrema, some, gradients, target, logits.shape[1]), None

            def few_at_a_time(extrema: RunningExtrema) -> RunningExtrema:
                few = in_chunks(classes, CPU_CLASSES, padding=logits.shape[1])
                return jax.lax.scan(step, extrema, few)[0]

            return jax.lax.platform_dependent(
                extrema, cpu=few_at_a_time, default=lambda extrema: step(extrema, classes)[0]
            )

        self._start = jax.jit(start)
        self._update = jax.jit(update, donate_argnums=3)

    def __call__(
        self, variables: Variables, images: Images, tick: Callable[[int], Any]
    ) -> ClassExtrema:
        """Returns the extrema; after each chunk, calls `tick` with its number of classes."""
        logits, target, rivals, compared, extrema, residuals = self._start(variables, images)
        left = len(compared)
        for chunk in in_chunks(compared, self._chunk, padding=logits.shape[1]):
            extrema = jax.block_until_ready(self._update(residuals, logits, target, extrema, chunk))
            tick(min(left, len(chunk)))
            left -= len(chunk)
        gradient = nan_where_not_finite(extrema.gradient, images)
        return ClassExtrema(logits, target, *extrema._replace(gradient=gradient), rivals=rivals)
