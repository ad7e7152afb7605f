"""Attributions from forward passes alone: occlusion and RISE."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from signsal_jax import _checks
from signsal_jax._jaxpr import run_once
from signsal_jax._precision import matmul_precision
from signsal_jax._types import ApplyFn, Gradients, Images, Logits, Variables
from signsal_jax.gradients._estimator import Estimator, Pullback
from signsal_jax.gradients._plain import scores_of


def _scorer(
    apply_fn: ApplyFn, variables: Variables, output: str, precision: str | None
) -> Callable[[Array], tuple[Logits, Array]]:
    """Returns the function from images to their logits and the scores that are explained."""

    def score(images: Array) -> tuple[Logits, Array]:
        with matmul_precision(precision):
            logits = apply_fn(variables, images)
        return logits, scores_of(logits, output)

    return score


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Occlusion:
    """See `occlusion`."""

    window: int = dataclasses.field(metadata={"static": True})
    stride: int = dataclasses.field(metadata={"static": True})
    baseline: float = dataclasses.field(metadata={"static": True})

    name = "occlusion"
    linear = True

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
        score = _scorer(apply_fn, variables, output, precision)
        logits, whole = score(images)
        # Which rows (columns) each place of the window covers: `[places, size]`.
        rows, columns = (self._covered(size) for size in images.shape[1:3])
        places = np.stack(np.meshgrid(range(len(rows)), range(len(columns)), indexing="ij"), -1)

        def drop(place: Array) -> Array:
            hidden = jnp.asarray(rows)[place[0]][:, None] & jnp.asarray(columns)[place[1]][None]
            return whole - score(jnp.where(hidden[None, ..., None], self.baseline, images))[1]

        drops = run_once(functools.partial(jax.lax.map, drop), jnp.asarray(places.reshape(-1, 2)))
        drops = drops.reshape(len(rows), len(columns), *whole.shape)
        covering = rows.sum(0)[:, None] * columns.sum(0)[None]

        def pullback(cotangent: Array) -> Gradients:
            with matmul_precision(precision):
                weighted = jnp.einsum("ijbk,bk->bij", drops, cotangent)
                total = jnp.einsum(
                    "bij,ih,jw->bhw",
                    weighted,
                    jnp.asarray(rows, drops.dtype),
                    jnp.asarray(columns, drops.dtype),
                )
            mean = total / jnp.asarray(covering, drops.dtype)[None]
            return jnp.broadcast_to(mean[..., None], images.shape).astype(images.dtype)

        return logits, pullback

    def _covered(self, size: int) -> np.ndarray:
        window = min(self.window, size)
        starts = sorted({*range(0, size - window + 1, self.stride), size - window})
        pixels = np.arange(size)[None]
        return np.stack([(pixels >= at) & (pixels < at + window) for at in starts])[:, 0]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rise:
    """See `rise`."""

    key: Any
    samples: int = dataclasses.field(metadata={"static": True})
    cells: int = dataclasses.field(metadata={"static": True})
    kept: float = dataclasses.field(metadata={"static": True})

    name = "rise"
    linear = True
    signed = False

    def masks(self, height: int, width: int, key: Array) -> Array:
        """Returns the mask `[h, w]` of a key: a grid of random cells, scaled up and shifted."""
        cell_key, row_key, column_key = jax.random.split(key, 3)
        tall, wide = (-(-size // self.cells) for size in (height, width))
        grid = jax.random.bernoulli(cell_key, self.kept, (self.cells + 1, self.cells + 1))
        shape = ((self.cells + 1) * tall, (self.cells + 1) * wide)
        smooth = jax.image.resize(grid.astype(jnp.float32), shape, "linear")
        corner = (
            jax.random.randint(row_key, (), 0, tall),
            jax.random.randint(column_key, (), 0, wide),
        )
        return jax.lax.dynamic_slice(smooth, corner, (height, width))

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
        score = _scorer(apply_fn, variables, output, precision)
        logits, _ = score(images)
        keys = jax.random.split(self.key, self.samples)
        mask_of = functools.partial(self.masks, *images.shape[1:3])

        def masked(key: Array) -> Array:
            mask = mask_of(key).astype(images.dtype)
            return score(images * mask[None, ..., None])[1]

        scores = run_once(functools.partial(jax.lax.map, masked), keys)

        def pullback(cotangent: Array) -> Gradients:
            weights = (scores * cotangent[None]).sum(-1) / (self.samples * self.kept)

            def add(total: Array, item: tuple[Array, Array]) -> tuple[Array, None]:
                key, weight = item
                return total + weight[:, None, None] * mask_of(key)[None].astype(total.dtype), None

            nothing = jnp.broadcast_to(0 * weights[0][:, None, None], images.shape[:3])
            total, _ = run_once(functools.partial(jax.lax.scan, add), nothing, (keys, weights))
            return jnp.broadcast_to(total[..., None], images.shape).astype(images.dtype)

        return logits, pullback


def occlusion(window: int = 8, stride: int = 4, baseline: float = 0.0) -> Estimator:
    """Averages by how much a score falls while a window that covers the pixel is hidden.

    A positive value says that what is seen here supports the class, a negative one that it speaks
    against it. Other than a gradient's, the sign says nothing about brighter or darker. All
    channels of a pixel get the same value.

    Cost: a forward pass per place of the window, once for all classes; no backward pass. Memory:
    one score per class and place.

    Args:
      window: the side of the square window in pixels; the image's where that is smaller.
      stride: the step between places; the last ones end at the border, so every pixel is covered.
      baseline: the value that hides, black by default.

    Returns:
      An `Estimator`, linear in the class scores; attributions are in units of the score.

    Raises:
      TypeError, ValueError: a window or stride below 1, a stride longer than the window (pixels
        would be left out), a baseline that is not finite.

    Reference: Zeiler and Fergus, arXiv 1311.2901, section 4.2.

    >>> import jax.numpy as jnp, signsal_jax
    >>> def apply_fn(variables, images):
    ...     return images.sum((1, 2)) @ variables
    >>> weights, images = jnp.asarray([[2.0, -1.0]]), jnp.asarray([1.0, 0.5]).reshape(1, 1, 2, 1)
    >>> _, attributions = signsal_jax.signed_jacobian(
    ...     apply_fn, weights, images, estimator=signsal_jax.occlusion(window=1, stride=1))
    >>> attributions.ravel().tolist()
    [2.0, 1.0, -1.0, -0.5]
    """
    window = _checks.check_integer("window", window, least=1)
    stride = _checks.check_integer("stride", stride, least=1)
    if stride > window:
        raise ValueError(f"stride: expected at most the window {window}, got {stride}")
    baseline = _checks.check_real("baseline", baseline)
    if not math.isfinite(baseline):
        raise ValueError(f"baseline: expected a finite value, got {baseline}")
    return Occlusion(window, stride, baseline)


def rise(key: Any, samples: int = 1024, cells: int = 7, kept: float = 0.5) -> Estimator:
    """Averages random masks, each weighted by the score of the image that it leaves.

    Large values are where the score is high if the pixel is seen. The zero has no meaning (a
    constant added to a score shows up as a nearly constant map), so there is no sign: "vanilla" is
    the only map of it that means anything, and `saliency_maps` refuses the others. The authors take
    the probability: `output="softmax"`.

    Cost: `samples` forward passes, once for all classes; no backward pass. The masks are the same
    for all images and classes.

    Args:
      key: from `jax.random.key`.
      samples: the number of masks, at least 1; the authors use 4 000 to 8 000.
      cells: the number of cells of a mask along each side.
      kept: the probability that a cell is seen, in (0, 1].

    Returns:
      An `Estimator`, linear in the class scores and without a sign; attributions are in units of
      the score.

    Raises:
      TypeError, ValueError: a key that is not a `jax.random` key, samples or cells below 1, a
        probability outside (0, 1].

    Reference: Petsiuk, Das and Saenko, arXiv 1806.07421, equation 6.

    >>> import jax, jax.numpy as jnp, signsal_jax
    >>> def apply_fn(variables, images):
    ...     return images.sum((1, 2)) @ variables
    >>> weights, images = jnp.asarray([[2.0, -1.0]]), jnp.ones((1, 2, 2, 1))
    >>> everything = signsal_jax.rise(jax.random.key(0), samples=2, kept=1.0)
    >>> _, attributions = signsal_jax.signed_jacobian(
    ...     apply_fn, weights, images, estimator=everything)
    >>> attributions[0, 0, 0, 0, 0].item()
    8.0
    """
    _checks.check_key("key", key)
    samples = _checks.check_integer("samples", samples, least=1)
    cells = _checks.check_integer("cells", cells, least=1)
    kept = _checks.check_real("kept", kept)
    if not 0 < kept <= 1:
        raise ValueError(f"kept: expected above 0 and at most 1, got {kept}")
    return Rise(key, samples, cells, kept)
