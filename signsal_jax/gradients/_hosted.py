"""The extrema of all classes by a loop on the host, which can report its progress."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh, PartitionSpec

from signsal_jax import _checks
from signsal_jax._types import ApplyFn, ClassExtrema, Images, Variables
from signsal_jax.gradients._chunks import in_chunks
from signsal_jax.gradients._contrast import check_contrasts, contrast_gradients
from signsal_jax.gradients._linearize import (
    CPU_CLASSES,
    class_gradients,
    linearize,
    same_class_gradients,
)
from signsal_jax.gradients._plain import plain
from signsal_jax.gradients._rivals import resolve_rivals
from signsal_jax.gradients._running import (
    RunningExtrema,
    nan_where_not_finite,
    no_extrema,
    over_devices,
    with_classes,
)
from signsal_jax.gradients._target import resolve_target
from signsal_jax.sharding import AXES, BY_IMAGE


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
      target: as for `class_extrema`, as are rivals and contrasts.
      mesh: from `sharding.make_mesh`: images are split over its axis `data`, every chunk of classes
        over `class`. The number of images must be a multiple of the former.
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
        contrasts: Sequence[str] = (),
        mesh: Mesh | None = None,
        **settings: Any,
    ):
        _checks.check_class_chunk(class_chunk)
        contrasts = check_contrasts(
            contrasts, settings.get("estimator", plain()), settings.get("output", "logits")
        )
        self._chunk, self._class_devices = class_chunk, 1 if mesh is None else mesh.shape["class"]
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
            against = contrast_gradients(logits, pullback, images, resolved, contrasts)
            return logits, resolved, others, against, compared, empty, program.consts

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

        def finish(extrema: RunningExtrema, images: Images) -> RunningExtrema:
            return extrema._replace(gradient=nan_where_not_finite(extrema.gradient, images))

        if mesh is not None:
            start, update, finish = _on_mesh(mesh, start, update, finish, isinstance(rivals, str))
        self._start = jax.jit(start)
        self._update = jax.jit(update, donate_argnums=3)
        self._finish = jax.jit(finish)

    def __call__(
        self, variables: Variables, images: Images, tick: Callable[[int], Any]
    ) -> ClassExtrema:
        """Returns the extrema; after each chunk, calls `tick` with its number of classes."""
        logits, target, rivals, contrasts, *rest = self._start(variables, images)
        compared, extrema, residuals = rest
        left = len(compared)
        chunks = in_chunks(
            compared, self._chunk, padding=logits.shape[1], multiple=self._class_devices
        )
        for chunk in chunks:
            extrema = jax.block_until_ready(self._update(residuals, logits, target, extrema, chunk))
            tick(min(left, len(chunk)))
            left -= len(chunk)
        return ClassExtrema(
            logits,
            target,
            *self._finish(extrema, images),
            rivals=rivals,
            contrasts=contrasts or None,
        )


def _on_mesh(
    mesh: Mesh, start: Callable, update: Callable, finish: Callable, all_rivals: bool
) -> tuple[Callable, Callable, Callable]:
    """The three functions on the devices of a mesh.

    Residuals and extrema differ between all devices; from one program to the next, those of a
    device are a row of a stacked array.
    """
    each = PartitionSpec(AXES)
    # Class indices `[m]` for all images, or `[m, b]`.
    by_image = () if all_rivals else ("data",)

    def stack(tree: Any) -> Any:
        return jax.tree.map(lambda own: own[None], tree)

    def unstack(tree: Any) -> Any:
        return jax.tree.map(lambda own: own[0], tree)

    def start_stacked(variables: Variables, images: Images) -> Any:
        *others, extrema, residuals = start(variables, images)
        return *others, stack(extrema), stack(residuals)

    def update_stacked(residuals: Any, logits: Any, target: Any, extrema: Any, some: Any) -> Any:
        return stack(update(unstack(residuals), logits, target, unstack(extrema), some))

    def finish_stacked(extrema: Any, images: Images) -> Any:
        return over_devices(finish(unstack(extrema), images), "class")

    compared, some = PartitionSpec(None, *by_image), PartitionSpec("class", *by_image)
    specs = {
        start_stacked: (
            (PartitionSpec(), BY_IMAGE),
            (BY_IMAGE, BY_IMAGE, BY_IMAGE, BY_IMAGE, compared, each, each),
        ),
        update_stacked: ((each, BY_IMAGE, BY_IMAGE, each, some), each),
        finish_stacked: ((each, BY_IMAGE), BY_IMAGE),
    }
    # What is equal along `class` is computed on every device there, which JAX cannot know.
    first, second, third = (
        jax.shard_map(function, mesh=mesh, in_specs=given, out_specs=out, check_vma=False)
        for function, (given, out) in specs.items()
    )
    return first, second, third
