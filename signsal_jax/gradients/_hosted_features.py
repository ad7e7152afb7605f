"""The extrema of all classes through the features, by a loop on the host over these."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh, PartitionSpec

from signsal_jax._types import ApplyFn, ClassExtrema, Images, Variables
from signsal_jax.gradients._contrast import check_contrasts
from signsal_jax.gradients._cut import Cut, features_of
from signsal_jax.gradients._estimator import Estimator
from signsal_jax.gradients._factors import assemble, own_features, score_weights
from signsal_jax.gradients._features import extrema_of_factors
from signsal_jax.gradients._linearize import linearize, looped_gradients, same_class_gradients
from signsal_jax.gradients._plain import plain
from signsal_jax.sharding import AXES, BY_IMAGE


class HostedFeatures:
    """Computes `class_extrema` through a cut, and calls a function after every chunk of features.

    As `HostedExtrema`: a first program for the forward pass, one for each chunk of pullbacks, and
    one for the products.

    Args:
      apply_fn: `apply_fn(variables, images) -> logits`, see `signsal_jax.ApplyFn`.
      cut: from `choose_cut`.
      mesh: from `sharding.make_mesh`: images are split over its axis `data`, the features of each
        over `class`.
      class_chunk: features pulled back in one call, on all devices along `class` together.
      target: as for `class_extrema`, as are rivals, contrasts, precision and estimator.

    >>> import jax, jax.numpy as jnp
    >>> from signsal_jax import gradients, sharding
    >>> def apply_fn(variables, images):
    ...     return images.mean((1, 2)) @ variables
    >>> weights, images = jnp.asarray([[2.0, -1.0, 1.0]]), jnp.ones((1, 2, 2, 1))
    >>> cut = gradients.narrowest_cut(apply_fn, weights, images)
    >>> mesh = sharding.make_mesh(jax.devices()[:1])
    >>> extrema = gradients.HostedFeatures(apply_fn, cut, mesh=mesh, class_chunk=2)
    >>> float(extrema(weights, images, print).highest[0, 0, 0, 0])
    1
    0.25
    """

    def __init__(
        self,
        apply_fn: ApplyFn,
        cut: Cut,
        *,
        mesh: Mesh,
        class_chunk: int,
        target: Any = "predicted",
        rivals: Any = "all",
        contrasts: Sequence[str] = (),
        precision: str | None = "highest",
        estimator: Estimator = plain(),
    ):
        contrasts = check_contrasts(contrasts, estimator, "logits")
        devices = mesh.shape["class"]
        self._share = -(-cut.width // devices)
        self._each = min(-(-class_chunk // devices), self._share)
        self._cut, self._devices = cut, devices
        # For each type of the features, their pullback as a program that takes residuals and a
        # cotangent. Tracing `start` adds it, tracing `update` reads it.
        pullbacks: dict[Any, jex.Jaxpr] = {}

        def start(variables: Variables, images: Images) -> Any:
            settings: dict[str, Any] = {"precision": precision, "estimator": estimator}
            body = features_of(cut, apply_fn)
            features, pullback = linearize(body, variables, images, **settings)
            logits, weights = score_weights(
                apply_fn, variables, images, features, cut, output="logits", precision=precision
            )
            program = jax.make_jaxpr(pullback)(jnp.zeros_like(features))
            pullbacks[jax.typeof(features)] = program.jaxpr
            rows = jnp.zeros((self._share, *images.shape), images.dtype)
            return features, logits, weights, rows[None], [part[None] for part in program.consts]

        def update(residuals: list[Array], features: Array, rows: Array, first: Array) -> Array:
            consts = [part[0] for part in residuals]
            program = jex.ClosedJaxpr(pullbacks[jax.typeof(features)], consts)

            def pullback(cotangent: Array) -> Array:
                return jex.jaxpr_as_fun(program)(cotangent)[0]

            some = own_features(cut, "class")[0] + first + jnp.arange(self._each)

            def looped(some: Array) -> Array:
                each = jnp.broadcast_to(some[:, None], (len(some), len(features)))
                return looped_gradients(pullback, each, features, axis=0)

            found = jax.lax.platform_dependent(
                some,
                cpu=looped,
                default=lambda some: same_class_gradients(pullback, some, features),
            )
            return jax.lax.dynamic_update_slice_in_dim(rows[0], found, first, 0)[None]

        def finish(images: Images, logits: Array, weights: Array, rows: Array) -> ClassExtrema:
            own_rows = jnp.moveaxis(rows[0], 0, 1)
            factors = assemble(cut, logits, weights, own_rows, "class")
            return extrema_of_factors(factors, images, target, rivals, contrasts)

        whole, each = PartitionSpec(), PartitionSpec(AXES)
        of_weights = whole if cut.affine else BY_IMAGE

        def on_mesh(function: Callable, given: Any, out: Any, donated: tuple[int, ...] = ()) -> Any:
            # What is equal along `class` is computed on every device there, which JAX cannot know.
            mapped = jax.shard_map(
                function, mesh=mesh, in_specs=given, out_specs=out, check_vma=False
            )
            return jax.jit(mapped, donate_argnums=donated)

        started = (BY_IMAGE, BY_IMAGE, of_weights, each, each)
        self._start = on_mesh(start, (whole, BY_IMAGE), started)
        self._update = on_mesh(update, (each, BY_IMAGE, each, whole), each, (2,))
        self._finish = on_mesh(finish, (BY_IMAGE, BY_IMAGE, of_weights, each), BY_IMAGE)

    def __call__(
        self, variables: Variables, images: Images, tick: Callable[[int], Any]
    ) -> ClassExtrema:
        """Returns the extrema; after each chunk, calls `tick` with its number of features."""
        features, logits, weights, rows, residuals = self._start(variables, images)
        done = 0
        for begin in range(0, self._share, self._each):
            # The last chunk ends with the last feature, and so overlaps the one before.
            first = min(begin, self._share - self._each)
            rows = jax.block_until_ready(self._update(residuals, features, rows, first))
            now = min((first + self._each) * self._devices, self._cut.width)
            tick(now - done)
            done = now
        return self._finish(images, logits, weights, rows)
