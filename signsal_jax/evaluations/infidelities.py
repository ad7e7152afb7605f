"""Infidelity: do a map's signed values predict what perturbations do to the target's logit?"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from signsal_jax import _checks, _image_checks
from signsal_jax._jaxpr import run_once
from signsal_jax._types import AnyArray, ApplyFn, Images, Variables
from signsal_jax._vma import varying_like
from signsal_jax.evaluations._scores import check_values, logits_of, target_logit
from signsal_jax.evaluations.claims import claimed_values
from signsal_jax.evaluations.entry import (
    GRADIENTS,
    MAPS,
    Classified,
    Entry,
    NetworkResult,
    Options,
    labelled,
)

PERTURBATIONS = ("noise", "square")
INFIDELITY_SCORES = ("infidelity", "correlation")
SAMPLES = 16
_NOISE = 0.1
_SIDE = 1 / 4
"""Of the shorter side of the image."""


class Infidelity(NamedTuple):
    """How well signed values predict changes of the target's logit (see `infidelity`).

    Attributes:
      infidelity: `[b]`, the mean squared error of the predicted change; at least 0.
      correlation: `[b]`, the correlation of predicted and actual changes (not centered), in
        [-1, 1]; 0 where one of them is always 0. 1 - correlation² is the infidelity of the values
        times their best factor, relative to that of a map of zeros; its sign is the map's.
      valid: `[b]`, whether no logit and no value is NaN.
    """

    infidelity: Float[Array, " b"]
    correlation: Float[Array, " b"]
    valid: Bool[Array, " b"]


def infidelity(
    apply_fn: ApplyFn,
    variables: Variables,
    images: Images,
    values: Mapping[str, Float[AnyArray, "b h w c"]],
    target: Int[AnyArray, " b"],
    *,
    key: Array,
    perturbation: str = "noise",
    samples: int = SAMPLES,
    precision: str | None = "highest",
) -> dict[str, Infidelity]:
    """Perturbs images at random and compares the change of the logit with what maps predict.

    For a perturbation I, signed values phi predict that the logit of x - I is lower by <I, phi>.

    Cost: one forward pass for each sample and one more, however many maps.

    Args:
      apply_fn: `apply_fn(variables, images) -> logits`, see `signsal_jax.ApplyFn`.
      variables: the classifier's pytree of weights.
      images: float `[b, h, w, c]`, pixels in [0, 1].
      values: by name, signed values `[b, h, w, c]` in score units per pixel value, see
        `claimed_values`.
      target: the class explained, `[b]`.
      key: of the perturbations, which are the same for all images.
      perturbation: "noise", Gaussian with a standard deviation of 0.1; or "square", a square at
        random with a quarter of the shorter side becomes black.
      samples: how many perturbations, at least 1. With few, the correlation of random values
        is far from 0 in one image, not on average.
      precision: of float32 products, see `signed_jacobian`.

    Returns:
      By name `Infidelity`.

    Raises:
      TypeError, ValueError: wrong shapes, an unknown perturbation, fewer than one sample.

    Reference: Yeh et al., "On the (In)fidelity and Sensitivity of Explanations", NeurIPS 2019,
    arXiv 1901.09392, definition 2.1 (there over all labels; square removal is in section 5).

    >>> import jax, jax.numpy as jnp
    >>> from signsal_jax.evaluations import infidelity
    >>> def apply_fn(variables, images):
    ...     return jnp.einsum("bhwc,khwc->bk", images, variables)
    >>> weights = jnp.asarray([2.0, 1.0, -1.0, 0.0]).reshape(2, 1, 2, 1)
    >>> found = infidelity(apply_fn, weights, jnp.ones((1, 1, 2, 1)), {"true": weights[:1],
    ...     "opposite": -weights[:1]}, jnp.asarray([0]), key=jax.random.key(0))
    >>> [round(float(found[name].correlation[0]), 3) for name in ("true", "opposite")]
    [1.0, -1.0]
    """
    _checks.check_classifier(apply_fn)
    _image_checks.check_image_batch(images)
    _checks.check_member("perturbation", perturbation, PERTURBATIONS)
    _checks.check_key("key", key)
    samples = _checks.check_integer("samples", samples, least=1)
    images, target = jnp.asarray(images), jnp.asarray(target)
    values = check_values(values, images)

    def score(images: Array) -> Array:
        return target_logit(logits_of(apply_fn, variables, images, precision), target)

    before = score(images)

    def sampled(sums: tuple, key: Array) -> tuple[tuple, None]:
        change = _perturbations(key, images, perturbation)
        actual = before - score(images - change)
        predicted = jnp.stack([(change * array).sum((1, 2, 3)) for array in values.values()])
        new = predicted**2, predicted * actual[None], jnp.broadcast_to(actual**2, predicted.shape)
        return jax.tree.map(jnp.add, sums, new), None

    def total(keys: Array) -> tuple:
        # Zero, with the type of what is added to it.
        zero = varying_like(jnp.zeros((len(values), len(before)), before.dtype), before)
        return jax.lax.scan(sampled, (zero, zero, zero), keys)[0]

    squares, products, actual = run_once(total, jax.random.split(key, samples))
    error = (squares - 2 * products + actual) / samples
    norm = jnp.sqrt(squares) * jnp.sqrt(actual)
    correlation = jnp.where(norm == 0, 0, products / jnp.where(norm == 0, 1, norm))
    valid = ~jnp.isnan(error)
    return {
        # Rounding can bring the error of a perfect map below zero.
        name: Infidelity(jnp.maximum(error[index], 0), correlation[index], valid[index])
        for index, name in enumerate(values)
    }


def _perturbations(key: Array, images: Array, kind: str) -> Float[Array, "_ h w c"]:
    """Returns the perturbation I of each image; x - I is what is classified."""
    _, height, width, channels = images.shape
    if kind == "noise":
        return _NOISE * jax.random.normal(key, (1, height, width, channels), images.dtype)
    side = max(1, round(_SIDE * min(height, width)))
    corner = jax.random.randint(key, (2,), 0, jnp.asarray([height - side + 1, width - side + 1]))
    rows, columns = (jnp.arange(size) for size in (height, width))
    inside = (rows >= corner[0]) & (rows < corner[0] + side)
    inside = inside[:, None] & ((columns >= corner[1]) & (columns < corner[1] + side))[None]
    return jnp.where(inside[None, :, :, None], images, 0)


def _of_network(batch: Classified) -> NetworkResult:
    assert batch.extrema is not None
    options, extrema = batch.options, batch.extrema
    values = {method: claimed_values(method, extrema) for method in options.methods}
    keys = jax.random.split(jax.random.key(options.control_seed), len(PERTURBATIONS))
    stacked, valid = [], []
    for key, kind in zip(keys, PERTURBATIONS, strict=True):
        found = infidelity(
            batch.apply_fn,
            batch.variables,
            batch.images,
            values,
            extrema.target,
            key=key,
            perturbation=kind,
            precision=options.precision,
        )
        scores = [jnp.stack([one.infidelity, one.correlation], 1) for one in found.values()]
        stacked.append(jnp.stack(scores, 1))
        valid += [one.valid for one in found.values()]
    return NetworkResult({"infidelity": jnp.stack(stacked, 2)}, jnp.stack(valid).all(0))


def _labels(options: Options) -> Mapping[str, Sequence[Any]]:
    return {
        "infidelity_map": list(options.methods),
        "perturbation": PERTURBATIONS,
        "infidelity_score": INFIDELITY_SCORES,
    }


ENTRY = Entry(
    "infidelity",
    arrays=labelled("infidelity", _labels),
    needs=frozenset({MAPS, GRADIENTS}),
    of_network=_of_network,
    mean=("infidelity",),
    labels=_labels,
)
