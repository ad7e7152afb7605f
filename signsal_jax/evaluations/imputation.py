"""Deletion with fills that look like the image: blurred, and noisy linear imputation (ROAD)."""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from signsal_jax import _checks, _image_checks
from signsal_jax._types import AnyArray, Images
from signsal_jax._vma import varying_alike
from signsal_jax.evaluations._curves import (
    curve_labels,
    curve_specs,
    perturbation_curves,
    stacked,
)
from signsal_jax.evaluations.controls import control_maps, control_names
from signsal_jax.evaluations.entry import GRADIENTS, MAPS, Classified, Entry, NetworkResult, Options
from signsal_jax.evaluations.perturbation import blur

NOISE = 0.01
IMPUTATIONS = ("blurred", "linear")
_STRAIGHT, _DIAGONAL = 1 / 6, 1 / 12
# Conjugate gradients end where the residual's norm has fallen by this factor.
_TOLERANCE = 1e-3
_ITERATIONS = 200


def linear_imputation(
    images: Images, mask: Bool[AnyArray, "b h w"], *, key: Array, noise: float = NOISE
) -> Float[Array, "b h w c"]:
    """Replaces masked pixels by weighted means of their neighbors, and adds a little noise.

    Unlike a constant, this does not show where pixels were deleted. A masked pixel is the mean of
    its eight neighbors (weights 1/6 straight, 1/12 diagonal; fewer at the border); masked neighbors
    too count with what replaces them, so this is a linear system, solved by conjugate gradients.

    Args:
      images: float `[b, h, w, c]`, pixels in [0, 1].
      mask: `[b, h, w]`, true where a pixel is replaced.
      key: of the noise, which is the same for all images.
      noise: its standard deviation, at least 0.

    Returns:
      `[b, h, w, c]`: the images where the mask is false. An image whose mask is true everywhere
      is all noise around 0, since it has nothing to impute from.

    Raises:
      TypeError, ValueError: images of the wrong rank or type, a mask that is not boolean or of
        another size, noise below 0.

    Reference: Rong et al., ROAD, ICML 2022, arXiv 2202.00449, noisy linear imputation.

    >>> import jax, jax.numpy as jnp
    >>> from signsal_jax.evaluations import linear_imputation
    >>> images = jnp.asarray([0.25, 0.0, 0.75]).reshape(1, 1, 3, 1)
    >>> mask = jnp.asarray([[[False, True, False]]])
    >>> linear_imputation(images, mask, key=jax.random.key(0), noise=0.0).ravel().tolist()
    [0.25, 0.5, 0.75]
    """
    _image_checks.check_image_batch(images)
    _checks.check_boolean("mask", mask)
    if jnp.shape(mask) != images.shape[:3]:
        raise ValueError(
            f"mask: expected the images' shape {images.shape[:3]}, got {jnp.shape(mask)}"
        )
    _checks.check_key("key", key)
    noise = _checks.check_real("noise", noise)
    if not 0 <= noise < math.inf:
        raise ValueError(f"noise: expected at least 0 and finite, got {noise}")
    images, hidden = jnp.asarray(images), jnp.asarray(mask)[..., None]
    known = jnp.where(hidden, 0, images)
    weights = _neighbors(jnp.ones((1, *images.shape[1:3], 1), images.dtype))
    found = _solve(_neighbors(known), hidden, weights)
    found += noise * jax.random.normal(key, (1, *images.shape[1:]), images.dtype)
    return jnp.where(hidden, found, images)


def _neighbors(values: Array) -> Array:
    """Returns the weighted sums of the eight neighbors, those outside the image left out."""

    def line(values: Array, axis: int, middle: float, side: float) -> Array:
        padding = [(1, 1) if place == axis else (0, 0) for place in range(4)]
        padded, size = jnp.pad(values, padding), values.shape[axis]

        def part(start: int) -> Array:
            return jax.lax.slice_in_dim(padded, start, start + size, axis=axis)

        return middle * values + side * (part(0) + part(2))

    # Rows of (1, 2, 1), twelfths: above and below as they are, in the middle without the pixel.
    rows = line(values, 2, 2.0, 1.0)
    return _DIAGONAL * line(rows, 1, 0.0, 1.0) + _STRAIGHT * line(values, 2, 0.0, 1.0)


def _solve(known: Array, hidden: Array, weights: Array) -> Array:
    """Solves `weights * x - neighbors(x) = known` on the hidden pixels, by conjugate gradients.

    The matrix is a part of the Laplacian of a graph, thus symmetric and, where a pixel is known,
    positive definite. An image that has converged stands still, so that it does not matter which
    others are in its batch.
    """

    def apply(values: Array) -> Array:
        return jnp.where(hidden, weights * values - _neighbors(values), 0)

    def product(first: Array, second: Array) -> Array:
        return (first * second).sum((1, 2, 3), keepdims=True)

    target = jnp.where(hidden, known, 0)
    end = _TOLERANCE**2 * product(target, target)

    def step(state: tuple) -> tuple:
        count, found, residual, direction, square = state
        going = square > end
        along = apply(direction)
        curvature = product(direction, along)
        length = jnp.where(going & (curvature > 0), square / curvature, 0)
        found, residual = found + length * direction, residual - length * along
        following = jnp.where(going, product(residual, residual), square)
        ratio = jnp.where(going, following / jnp.where(square == 0, 1, square), 0)
        return count + 1, found, residual, residual + ratio * direction, following

    def going(state: tuple) -> Array:
        return (state[0] < _ITERATIONS) & (state[4] > end).any()

    start = varying_alike(jnp.zeros_like(target), target, target, product(target, target))
    return jax.lax.while_loop(going, step, (jnp.asarray(0), *start))[1]


def _curves(options: Options) -> tuple[tuple[str, str], ...]:
    return tuple(
        (fill, name)
        for fill in IMPUTATIONS
        for name in (*options.methods, *control_names(options.control_orders, fill))
    )


def _of_network(batch: Classified) -> NetworkResult:
    assert batch.extrema is not None
    options = batch.options
    key = jax.random.key(options.control_seed)
    controls = control_maps(
        key, batch.images, batch.extrema.gradient, orders=options.control_orders
    )

    def linear(images: Array, mask: Array) -> Array:
        return linear_imputation(images, mask, key=key)

    found = perturbation_curves(
        batch.apply_fn,
        batch.variables,
        batch.images,
        {**batch.maps, **controls},
        batch.predicted,
        curves=_curves(options),
        fills={"blurred": blur(batch.images), "linear": linear},
        fractions=options.fractions,
        rule=options.rule,
        precision=options.precision,
        insert=False,
    )
    return stacked(found, agreement="imputed_agreement", share="imputed_deleted")


ENTRY = Entry(
    "imputation",
    arrays=lambda options, _: curve_specs(
        "imputed_curve",
        len(_curves(options)),
        options,
        agreement="imputed_agreement",
        share="imputed_deleted",
    ),
    needs=frozenset({MAPS, GRADIENTS}),
    of_network=_of_network,
    mean=("imputed_agreement", "imputed_deleted"),
    labels=lambda options: curve_labels("imputed_curve", _curves(options), options),
)
