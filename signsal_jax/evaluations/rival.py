"""The rival test: does a step along a map's signs help the target against every other class?"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from signsal_jax import _checks, _image_checks
from signsal_jax._types import AnyArray, ApplyFn, Images, Variables
from signsal_jax.evaluations._scores import check_shape, chosen_pixels, margin_changes
from signsal_jax.evaluations.claims import claimed_signs
from signsal_jax.evaluations.entry import (
    GRADIENTS,
    MAPS,
    Classified,
    Entry,
    NetworkResult,
    Options,
    labelled,
)
from signsal_jax.evaluations.steps import check_steps

RIVAL_WAYS = ("along", "against", "random_signs")
RIVAL_SCORES = ("risen", "least", "mean")
EPSILON = 4 / 255


class RivalStep(NamedTuple):
    """How the target's margins to all other classes change in a step (see `rival_step`).

    Attributes:
      change: `[b, w, s]`, by way (`RIVAL_WAYS`) and score (`RIVAL_SCORES`): the share of
        other classes to which the margin rises, in [0, 1], and the least and the mean change.
      valid: `[b]`, whether no logit is NaN.
    """

    change: Float[Array, "b w s"]
    valid: Bool[Array, " b"]


def rival_step(
    apply_fn: ApplyFn,
    variables: Variables,
    images: Images,
    ranks: Float[AnyArray, "b h w"],
    signs: Int[AnyArray, "b h w c"],
    target: Int[AnyArray, " b"],
    *,
    key: Array,
    share: float = 0.05,
    epsilon: float = EPSILON,
    precision: str | None = "highest",
) -> RivalStep:
    """Moves a map's most salient pixels along its signs; compares with each other class.

    Active and inactive claim that their pixels help the target against every other class; to first
    order, "along" then raises every margin and "against" lowers every one. "random_signs" moves the
    same pixels, each channel brighter or darker at random. Pixels may leave [0, 1].

    Cost: four forward passes.

    Args:
      apply_fn: `apply_fn(variables, images) -> logits`, see `signsal_jax.ApplyFn`.
      variables: the classifier's pytree of weights.
      images: float `[b, h, w, c]`, pixels in [0, 1].
      ranks: `[b, h, w]`, higher means more salient.
      signs: `[b, h, w, c]` in {-1, 0, 1}, see `claimed_signs`; pixels without any are not moved.
      target: the class explained, `[b]`.
      key: of the random signs, which are the same for all images.
      share: the share of pixels that are moved, at most; in (0, 1].
      epsilon: the length of the step in units of pixel value, above 0.
      precision: of float32 products, see `signed_jacobian`.

    Returns:
      `RivalStep`.

    Raises:
      TypeError, ValueError: wrong shapes, a share outside (0, 1], an epsilon not above 0.

    Reference: arXiv 2309.12913 defines active and inactive by all other classes; the test is this
    library's.

    >>> import jax, jax.numpy as jnp
    >>> from signsal_jax.evaluations import rival_step
    >>> def apply_fn(variables, images):
    ...     return jnp.einsum("bhwc,khwc->bk", images, variables)
    >>> weights = jnp.asarray([2.0, 1.0, -1.0]).reshape(3, 1, 1, 1)
    >>> one = jnp.ones((1, 1, 1, 1))
    >>> step = rival_step(apply_fn, weights, one / 2, one[..., 0], one.astype(int),
    ...     jnp.asarray([0]), key=jax.random.key(0), share=1.0, epsilon=0.5)
    >>> step.change[0, 0].tolist()  # both margins rise, by 0.5 and 1.5
    [1.0, 0.5, 1.0]
    """
    _checks.check_classifier(apply_fn)
    _image_checks.check_image_batch(images)
    _checks.check_key("key", key)
    images, ranks, signs = jnp.asarray(images), jnp.asarray(ranks), jnp.asarray(signs)
    check_shape("ranks", ranks, images.shape[:3])
    check_shape("signs", signs, images.shape)
    check_steps(share, [epsilon])
    top = chosen_pixels(ranks, signs, share)
    flips = jax.random.rademacher(key, (1, *images.shape[1:]), signs.dtype)
    moves = jnp.where(top[None], jnp.stack([signs, -signs, signs * flips]), 0)
    change, others = margin_changes(apply_fn, variables, images, moves, target, epsilon, precision)
    count = others.sum(2)
    risen = ((change > 0) & others).sum(2) / count
    least = jnp.where(others, change, jnp.inf).min(2)
    mean = jnp.where(others, change, 0).sum(2) / count
    valid = ~jnp.isnan(change).any((0, 2)) & ~jnp.isnan(ranks).any((1, 2))
    return RivalStep(jnp.stack([risen, least, mean], 2).transpose(1, 0, 2), valid)


def _of_network(batch: Classified) -> NetworkResult:
    assert batch.extrema is not None
    options = batch.options
    steps = [
        rival_step(
            batch.apply_fn,
            batch.variables,
            batch.images,
            batch.maps[method],
            claimed_signs(method, batch.extrema),
            batch.extrema.target,
            key=jax.random.key(options.control_seed),
            share=options.step_share,
            precision=options.precision,
        )
        for method in options.methods
    ]
    changes = {"rival_change": jnp.stack([step.change for step in steps], 1)}
    return NetworkResult(changes, jnp.stack([step.valid for step in steps]).all(0))


def _labels(options: Options) -> Mapping[str, Sequence[Any]]:
    return {
        "rival_map": list(options.methods),
        "rival_way": RIVAL_WAYS,
        "rival_score": RIVAL_SCORES,
    }


ENTRY = Entry(
    "rival",
    arrays=labelled("rival_change", _labels),
    needs=frozenset({MAPS, GRADIENTS}),
    of_network=_of_network,
    mean=("rival_change",),
    labels=_labels,
)
