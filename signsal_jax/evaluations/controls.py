"""Deletion by orders that explain nothing, or little: what a map has to beat."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from signsal_jax import _image_checks
from signsal_jax._types import AnyArray, Images
from signsal_jax.evaluations._curves import (
    curve_labels,
    curve_specs,
    perturbation_curves,
    stacked,
)
from signsal_jax.evaluations.entry import GRADIENTS, Classified, Entry, NetworkResult, Options
from signsal_jax.evaluations.perturbation import FILLS

_TIMES_INPUT = {"black": "gradient_x_input", "white": "gradient_x_inverse"}


def control_names(orders: int, fill: str) -> tuple[str, ...]:
    """Returns the controls of a fill, with this many random orders, in the order of tables.

    >>> from signsal_jax.evaluations import control_names
    >>> control_names(1, "white")
    ('random_0', 'laplace', 'gradient_x_inverse')
    """
    random = (f"random_{index}" for index in range(orders))
    return (*random, "laplace", _TIMES_INPUT.get(fill, "gradient_x_input"))


def control_maps(
    key: Array, images: Images, gradient: Float[AnyArray, "b h w c"], *, orders: int = 1
) -> Mapping[str, Float[Array, "b h w"]]:
    """Returns the maps of the controls, higher means deleted earlier.

    Args:
      key: of the random orders. Each order is the same for all images, so that it depends neither
        on the batch nor on the device that an image is in.
      images: float `[b, h, w, c]`, pixels in [0, 1].
      gradient: the target's signed gradient, `[b, h, w, c]`.
      orders: how many random orders.

    Returns:
      By name `[b, h, w]`: `random_0` and so on, ranks from 1 to h·w; `laplace`, the maximum over
      channels of the absolute difference between four times a pixel and its four neighbors (at
      the border the pixel itself stands for the missing one); `gradient_x_input` and
      `gradient_x_inverse`, the sums over channels of gradient · input and of
      gradient · (input - 1): to first order, by how much the logit falls if the pixel becomes
      black, or white.

    Raises:
      TypeError, ValueError: images of the wrong rank or type, a gradient of another shape.

    >>> import jax, jax.numpy as jnp
    >>> from signsal_jax.evaluations import control_maps
    >>> images = jnp.asarray([0.0, 0.25]).reshape(1, 1, 2, 1)
    >>> maps = control_maps(jax.random.key(0), images, jnp.ones((1, 1, 2, 1)))
    >>> maps["gradient_x_input"].tolist(), maps["gradient_x_inverse"].tolist()
    ([[[0.0, 0.25]]], [[[-1.0, -0.75]]])
    >>> maps["laplace"].tolist()
    [[[0.25, 0.25]]]
    """
    _image_checks.check_image_batch(images)
    images, gradient = jnp.asarray(images), jnp.asarray(gradient)
    if gradient.shape != images.shape:
        raise ValueError(f"gradient: expected shape {images.shape}, got {gradient.shape}")
    shape = images.shape[:3]
    found = {}
    for index in range(orders):
        ranks = jax.random.permutation(jax.random.fold_in(key, index), shape[1] * shape[2]) + 1
        # At least float32: bfloat16 cannot tell ranks past 256 apart.
        ranks = ranks.reshape(shape[1:]).astype(jnp.float32)
        found[f"random_{index}"] = jnp.broadcast_to(ranks, shape)
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    neighbors = (
        padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
    )
    found["laplace"] = jnp.abs(4 * images - neighbors).max(3)
    found["gradient_x_input"] = (gradient * images).sum(3)
    found["gradient_x_inverse"] = (gradient * (images - 1)).sum(3)
    return found


def _fills(options: Options) -> Mapping[str, float]:
    """The fills that the maps are deleted by: a network need not stand any other."""
    used = {fill for fill, _ in options.curves}
    return {fill: value for fill, value in FILLS.items() if fill in used or not used}


def _curves(options: Options) -> tuple[tuple[str, str], ...]:
    return tuple(
        (fill, name)
        for fill in _fills(options)
        for name in control_names(options.control_orders, fill)
    )


def _of_network(batch: Classified) -> NetworkResult:
    assert batch.extrema is not None
    options = batch.options
    key = jax.random.key(options.control_seed)
    found = perturbation_curves(
        batch.apply_fn,
        batch.variables,
        batch.images,
        control_maps(key, batch.images, batch.extrema.gradient, orders=options.control_orders),
        batch.predicted,
        curves=_curves(options),
        fills=_fills(options),
        fractions=options.fractions,
        rule=options.rule,
        precision=options.precision,
        insert=False,
    )
    return stacked(found, agreement="control_agreement", share="control_deleted")


ENTRY = Entry(
    "controls",
    arrays=lambda options, _: curve_specs(
        "control_curve",
        len(_curves(options)),
        options,
        agreement="control_agreement",
        share="control_deleted",
    ),
    needs=frozenset({GRADIENTS}),
    of_network=_of_network,
    mean=("control_agreement", "control_deleted"),
    labels=lambda options: curve_labels("control_curve", _curves(options), options),
)
