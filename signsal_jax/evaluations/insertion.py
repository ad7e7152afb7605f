"""The insertion benchmark: from an empty canvas, put the most salient pixels back first."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from signsal_jax import _checks, _image_checks
from signsal_jax._precision import matmul_precision
from signsal_jax._types import AnyArray, ApplyFn, Images, Variables
from signsal_jax.evaluations._curves import (
    curve_labels,
    curve_specs,
    perturbation_curves,
    stacked,
)
from signsal_jax.evaluations.entry import MAPS, Classified, Entry, NetworkResult, Options
from signsal_jax.evaluations.perturbation import FILLS, PAPER_FRACTIONS, blur, fill_values


class InsertionCurve(NamedTuple):
    """One insertion curve, image by image (see `insertion_curve`).

    Attributes:
      agreement: `[b, f]`, true where the predicted class is that of the untouched image.
      inserted: `[b, f]`, the share of pixels actually inserted, in [0, 1].
      valid: `[b]`, true where map and logits are free of NaN; elsewhere agreement means nothing.
    """

    agreement: Bool[Array, "b f"]
    inserted: Float[Array, "b f"]
    valid: Bool[Array, " b"]


def insertion_curve(
    apply_fn: ApplyFn,
    variables: Variables,
    images: Images,
    maps: Float[AnyArray, "b h w"],
    *,
    canvas: Any = "black",
    fractions: Sequence[float] | np.ndarray = PAPER_FRACTIONS,
    rule: str = "paper",
    precision: str | None = "highest",
) -> InsertionCurve:
    """Inserts the most salient pixels into a canvas step by step and watches the predicted class.

    Pure and jittable. The counterpart of `deletion_curve`: a higher area under the curve is
    better. A blurred canvas still shows much of the image, so its curve starts higher.

    Args:
      apply_fn: `apply_fn(variables, images) -> logits`, see `signsal_jax.ApplyFn`.
      variables: the classifier's pytree of weights.
      images: float `[b, h, w, c]`, pixels in [0, 1].
      maps: saliency maps `[b, h, w]`, higher means inserted earlier.
      canvas: "black" (0), "white" (1), "blurred" (see `blur`), or any fill that
        `deletion_curve` takes.
      fractions: shares of inserted pixels, each in [0, 1].
      rule: "paper" or "exact", decides which pixels a fraction selects, see `deletion_masks`.
      precision: of float32 products, see `signed_jacobian`.

    Returns:
      `InsertionCurve`: per image and fraction the agreement with the untouched image's
      prediction (not the label) and the share of pixels actually inserted.

    Raises:
      TypeError, ValueError: images or maps of the wrong rank, maps of another size than the
        images, fractions outside [0, 1], an unknown rule or canvas.

    Reference: Petsiuk et al., RISE (2018), arXiv 1806.07421, the insertion metric (there with the
    target's probability in place of the agreement).

    >>> import jax.numpy as jnp
    >>> from signsal_jax.evaluations import insertion_curve
    >>> def apply_fn(variables, images):
    ...     total = images.sum((1, 2, 3))
    ...     return jnp.stack([total - 1, 1 - total], axis=1)
    >>> images = jnp.full((1, 1, 4, 1), 0.5)
    >>> maps = jnp.asarray([[[4.0, 3.0, 2.0, 1.0]]])
    >>> curve = insertion_curve(apply_fn, (), images, maps, fractions=[0.25, 0.75])
    >>> curve.agreement.tolist(), curve.inserted.tolist()
    ([[False, True]], [[0.25, 0.75]])
    """
    _checks.check_classifier(apply_fn)
    _image_checks.check_image_batch(images)
    images, maps = jnp.asarray(images), _checks.check_numbers("maps", maps)
    if isinstance(canvas, str):
        _checks.check_member("canvas", canvas, (*FILLS, "blurred"))
        canvas = blur(images) if canvas == "blurred" else canvas
    fill_values(canvas, images, "canvas")  # checked here, so that the message says "canvas"
    with matmul_precision(precision):
        logits = apply_fn(variables, images)
    _checks.check_logits(logits, len(images))
    found = perturbation_curves(
        apply_fn,
        variables,
        images,
        {"map": maps},
        jnp.argmax(logits, axis=1),
        curves=[("canvas", "map")],
        fills={"canvas": canvas},
        fractions=fractions,
        rule=rule,
        precision=precision,
        insert=True,
    )
    agreement, inserted, valid = found["canvas", "map"]
    return InsertionCurve(agreement, inserted, valid & ~jnp.isnan(logits).any(1))


def _curves(options: Options) -> tuple[tuple[str, str], ...]:
    """Returns the curves of deletion, and each map on the blurred canvas."""
    return (*options.curves, *(("blurred", method) for method in options.methods))


def _of_network(batch: Classified) -> NetworkResult:
    options = batch.options
    found = perturbation_curves(
        batch.apply_fn,
        batch.variables,
        batch.images,
        batch.maps,
        batch.predicted,
        curves=_curves(options),
        fills={**FILLS, "blurred": blur(batch.images)},
        fractions=options.fractions,
        rule=options.rule,
        precision=options.precision,
        insert=True,
    )
    return stacked(found, agreement="insertion_agreement", share="inserted")


ENTRY = Entry(
    "insertion",
    arrays=lambda options, _: curve_specs(
        "insertion_curve",
        len(_curves(options)),
        options,
        agreement="insertion_agreement",
        share="inserted",
    ),
    needs=frozenset({MAPS}),
    of_network=_of_network,
    mean=("insertion_agreement", "inserted"),
    labels=lambda options: curve_labels("insertion_curve", _curves(options), options),
)
