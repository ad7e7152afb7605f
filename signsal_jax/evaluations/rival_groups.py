"""Groups of pixels with one runner-up: against which class do they help?"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from signsal_jax import _checks, _image_checks
from signsal_jax._types import AnyArray, ApplyFn, ClassExtrema, Images, Variables
from signsal_jax.evaluations._scores import check_shape, logits_of, margin_changes
from signsal_jax.evaluations.claims import claimed_signs
from signsal_jax.evaluations.entry import (
    EXTREMA,
    GRADIENTS,
    Classified,
    Entry,
    NetworkResult,
    Options,
    labelled,
)
from signsal_jax.evaluations.rival import EPSILON
from signsal_jax.evaluations.steps import check_steps
from signsal_jax.maps import COMPARATIVE_METHODS

PLACES = ("runner_up", "control")


class RivalPlace(NamedTuple):
    """Against which classes the pixels of one runner-up help (see `rival_place`).

    Attributes:
      place: `[b]`, the place of the runner-up among the other classes, from 0 (the step raises
        its margin least) to 1 (most), the mean over groups; NaN where the map keeps nothing.
      control: `[b]`, the same of equally many of the kept pixels and channels at random.
      valid: `[b]`, whether no logit is NaN.
    """

    place: Float[Array, " b"]
    control: Float[Array, " b"]
    valid: Bool[Array, " b"]


def rival_place(
    apply_fn: ApplyFn,
    variables: Variables,
    images: Images,
    signs: Int[AnyArray, "b h w c"],
    rivals: Int[AnyArray, "b h w c"],
    target: Int[AnyArray, " b"],
    *,
    key: Array,
    groups: int = 2,
    epsilon: float = EPSILON,
    precision: str | None = "highest",
) -> RivalPlace:
    """Moves all pixels with the same runner-up: how much does that help against this very class?

    The runner-up of a pixel is the class whose gradient is closest to the target's. So moving the
    pixel helps against it, but to first order *less* than against any other class: on a linear
    network its place is exactly 0. A place near that of the control (the same classes, other
    pixels) says that the runner-up is not a fact of these pixels.

    Cost: one forward pass, and two for each group.

    Args:
      apply_fn: `apply_fn(variables, images) -> logits`, see `signsal_jax.ApplyFn`.
      variables: the classifier's pytree of weights.
      images: float `[b, h, w, c]`, pixels in [0, 1].
      signs: `[b, h, w, c]` in {-1, 0, 1}, see `claimed_signs`, of active or inactive.
      rivals: `[b, h, w, c]`, the runner-up of each pixel and channel: `ClassExtrema.highest_class`
        for active, `lowest_class` for inactive.
      target: the class explained, `[b]`.
      key: of the control, which is the same for all images.
      groups: for how many classes, those that are runner-up most often in an image; at least 1.
      epsilon: the length of the step in units of pixel value, above 0.
      precision: of float32 products, see `signed_jacobian`.

    Returns:
      `RivalPlace`. With fewer than three classes there is no place, and all are NaN.

    Raises:
      TypeError, ValueError: wrong shapes, groups below 1, an epsilon not above 0.

    Reference: arXiv 2309.12913, active and inactive; the test is this library's.

    >>> import jax, jax.numpy as jnp
    >>> from signsal_jax.evaluations import rival_place
    >>> def apply_fn(variables, images):
    ...     return jnp.einsum("bhwc,khwc->bk", images, variables)
    >>> weights = jnp.asarray([[2.0, 2.0], [1.0, 0.0], [0.0, 1.5]]).reshape(3, 1, 2, 1)
    >>> one = jnp.ones((1, 1, 2, 1), int)
    >>> rivals = jnp.asarray([1, 2]).reshape(1, 1, 2, 1)
    >>> place = rival_place(apply_fn, weights, one / 2, one, rivals, jnp.asarray([0]),
    ...     key=jax.random.key(0))
    >>> place.place.tolist()
    [0.0]
    """
    _checks.check_classifier(apply_fn)
    _image_checks.check_image_batch(images)
    _checks.check_key("key", key)
    images, signs, rivals = jnp.asarray(images), jnp.asarray(signs), jnp.asarray(rivals)
    check_shape("signs", signs, images.shape)
    check_shape("rivals", rivals, images.shape)
    groups = _checks.check_integer("groups", groups, least=1)
    check_steps(1.0, [epsilon])
    batch = images.shape[0]
    num_classes = logits_of(apply_fn, variables, images, precision).shape[1]
    kept = (signs != 0).reshape(batch, -1)
    flat = jnp.where(kept, rivals.reshape(batch, -1), num_classes)
    counts = jnp.zeros((batch, num_classes), jnp.int32)
    counts = counts.at[jnp.arange(batch)[:, None], flat].add(1, mode="drop")
    sizes, classes = jax.lax.top_k(counts, min(groups, num_classes))
    # Equally many of the kept ones, the first in one random order.
    given = jax.random.permutation(key, flat.shape[1])
    behind = jnp.argsort(given)
    number = jnp.cumsum(kept[:, given], 1)[:, behind]
    own = flat[None] == classes.T[:, :, None]
    anywhere = kept[None] & (number[None] <= sizes.T[:, :, None])
    moves = jnp.where(jnp.concatenate([own, anywhere]), signs.reshape(1, batch, -1), 0)
    change, others = margin_changes(
        apply_fn,
        variables,
        images,
        moves.reshape(-1, *images.shape),
        target,
        epsilon,
        precision,
    )
    both = jnp.concatenate([classes.T, classes.T])
    against = jnp.take_along_axis(change, both[:, :, None], 2)
    ahead = jnp.where(others, change < against, False).sum(2)
    tied = jnp.where(others, change == against, False).sum(2) - 1
    places = (ahead + tied / 2) / (num_classes - 2) if num_classes > 2 else jnp.nan * ahead
    known = jnp.concatenate([sizes.T, sizes.T]) > 0
    weights = known.reshape(2, -1, batch)
    mean = jnp.where(known, places, 0).reshape(2, -1, batch).sum(1) / weights.sum(1)
    return RivalPlace(mean[0], mean[1], ~jnp.isnan(change).any((0, 2)))


def _runner_up(method: str, extrema: ClassExtrema) -> Array:
    rivals = extrema.highest_class if method == "active" else extrema.lowest_class
    assert rivals is not None
    return rivals


def _of_network(batch: Classified) -> NetworkResult:
    assert batch.extrema is not None
    options, extrema = batch.options, batch.extrema
    found = [
        rival_place(
            batch.apply_fn,
            batch.variables,
            batch.images,
            claimed_signs(method, extrema),
            _runner_up(method, extrema),
            extrema.target,
            key=jax.random.key(options.control_seed),
            precision=options.precision,
        )
        for method in COMPARATIVE_METHODS
    ]
    places = [jnp.stack([place.place, place.control], 1) for place in found]
    valid = jnp.stack([place.valid for place in found]).all(0)
    return NetworkResult({"rival_place": jnp.stack(places, 1)}, valid)


def _labels(_: Options) -> Mapping[str, Sequence[Any]]:
    return {"placed_map": COMPARATIVE_METHODS, "place": PLACES}


ENTRY = Entry(
    "rival_groups",
    arrays=labelled("rival_place", _labels),
    needs=frozenset({EXTREMA, GRADIENTS}),
    of_network=_of_network,
    labels=_labels,
)
