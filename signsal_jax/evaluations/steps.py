"""The signed small step: is the sign that a map claims true? Move its pixels that way, and see."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from signsal_jax import _checks, _image_checks
from signsal_jax._jaxpr import run_once
from signsal_jax._precision import at_least_float32, matmul_precision
from signsal_jax._types import AnyArray, ApplyFn, Images, Variables
from signsal_jax._vma import varying_like
from signsal_jax.evaluations._scores import chosen_pixels
from signsal_jax.evaluations.claims import claimed_signs
from signsal_jax.evaluations.entry import (
    GRADIENTS,
    MAPS,
    ArraySpec,
    Classified,
    Entry,
    NetworkResult,
    Options,
)

WAYS = ("along", "against", "random_signs", "random_pixels")
SCORES = ("logit", "margin", "probability")
EPSILONS = (1 / 255, 4 / 255, 16 / 255, 64 / 255)

Signs = Int[AnyArray, "b h w c"]


class SmallStep(NamedTuple):
    """What small steps change.

    Attributes:
      change: `[b, w, e, s]`, by way (`WAYS`), epsilon and score (`SCORES`): the score
        after the step minus the score before.
      moved: `[b]`, the share of pixels that are moved.
      valid: `[b]`, whether no logit is NaN.
    """

    change: Float[Array, "b w e s"]
    moved: Float[Array, " b"]
    valid: Bool[Array, " b"]


def small_step(
    apply_fn: ApplyFn,
    variables: Variables,
    images: Images,
    ranks: Float[AnyArray, "b h w"],
    signs: Signs,
    target: Int[AnyArray, " b"],
    *,
    key: Array,
    share: float = 0.05,
    epsilons: Sequence[float] = EPSILONS,
    precision: str | None = "highest",
) -> SmallStep:
    """Moves the most salient pixels a little along the signs that a map claims, and against them.

    Two controls have equally many moved pixels: the same pixels with random signs, and pixels at
    random, of all those that the map has a sign for, with the map's signs. If the signs are true,
    "along" raises the target's scores, "against" lowers them, random signs do nothing on average;
    if the ranking is good, "along" raises them more than random pixels do. Pixels may leave [0, 1].

    Cost: one forward pass, and one for each way and epsilon.

    Args:
      apply_fn: `apply_fn(variables, images) -> logits`, see `signsal_jax.ApplyFn`.
      variables: the classifier's pytree of weights.
      images: float `[b, h, w, c]`, pixels in [0, 1].
      ranks: `[b, h, w]`, higher means more salient, such as a map of `saliency_maps`.
      signs: `[b, h, w, c]` in {-1, 0, 1}, see `claimed_signs`; pixels without any are not moved.
      target: the class explained, `[b]`.
      key: of the controls, which are the same for all images, so that an image's numbers do not
        depend on the batch.
      share: the share of pixels that are moved, at most; in (0, 1].
      epsilons: step lengths in units of pixel value, each above 0.
      precision: of float32 products, see `signed_jacobian`.

    Returns:
      `SmallStep`. Scores are the target's logit, its margin to the highest other logit, and its
      softmax probability.

    Raises:
      TypeError, ValueError: wrong shapes, a share outside (0, 1], no epsilon or one that is not
        positive.

    Reference: Wang and Wang, "Why Not Other Classes?", NeurIPS 2022, section 5 (steps along the
    gradient's sign, epsilon 3e-3); EvalAttAI, arXiv 2303.08866. The opposite step, equal counts and
    controls are this library's.

    >>> import jax, jax.numpy as jnp
    >>> from signsal_jax.evaluations import small_step
    >>> def apply_fn(variables, images):
    ...     return jnp.einsum("bhwc,khwc->bk", images, variables)
    >>> weights = jnp.asarray([[[[2.0], [-3.0]]], [[[0.0], [0.0]]]])
    >>> gradient = weights[:1]
    >>> step = small_step(
    ...     apply_fn, weights, jnp.full((1, 1, 2, 1), 0.5), jnp.abs(gradient[..., 0]),
    ...     jnp.sign(gradient).astype(int), jnp.asarray([0]),
    ...     key=jax.random.key(0), share=1.0, epsilons=[0.5])
    >>> step.change[0, :2, 0, 0].tolist()  # half of 2 + 3, along and against
    [2.5, -2.5]
    """
    _checks.check_classifier(apply_fn)
    _image_checks.check_image_batch(images)
    images, ranks, signs = jnp.asarray(images), jnp.asarray(ranks), jnp.asarray(signs)
    if ranks.shape != images.shape[:3]:
        raise ValueError(f"ranks: expected shape {images.shape[:3]}, got {ranks.shape}")
    if signs.shape != images.shape:
        raise ValueError(f"signs: expected shape {images.shape}, got {signs.shape}")
    check_steps(share, epsilons)
    directions, moved = _directions(key, ranks, signs, share)
    target = jnp.asarray(target)

    def scores(images: Array) -> Array:
        with matmul_precision(precision):
            logits = apply_fn(variables, images)
        _checks.check_logits(logits, images.shape[0], min_classes=2)
        logits = logits.astype(at_least_float32(logits.dtype))
        own = jax.nn.one_hot(target, logits.shape[1], dtype=bool)
        logit = jnp.where(own, logits, 0).sum(1)
        others = jnp.where(own, -jnp.inf, logits).max(1)
        probability = jnp.where(own, jax.nn.softmax(logits), 0).sum(1)
        return jnp.stack([logit, logit - others, probability], 1)

    before = scores(images)

    def step(direction: Array) -> Array:
        moves = direction.astype(images.dtype)
        return jax.lax.map(lambda epsilon: scores(images + epsilon * moves) - before, lengths)

    lengths = varying_like(jnp.asarray(epsilons, images.dtype), images)
    change = run_once(lambda directions: jax.lax.map(step, directions), directions)
    change = change.transpose(2, 0, 1, 3)
    valid = ~jnp.isnan(change).any((1, 2, 3)) & ~jnp.isnan(ranks).any((1, 2))
    return SmallStep(change, moved, valid)


def check_steps(share: float, epsilons: Sequence[float]) -> None:
    """Raises unless the share is in (0, 1] and there are epsilons, all above 0."""
    share = _checks.check_real("share", share)
    if not 0 < share <= 1:
        raise ValueError(f"share: expected above 0 and at most 1, got {share}")
    if not len(epsilons) or not all(epsilon > 0 for epsilon in epsilons):
        raise ValueError(f"epsilons: expected at least one, each above 0, got {epsilons}")


def _directions(
    key: Array, ranks: Array, signs: Array, share: float
) -> tuple[Int[Array, "w b h w2 c"], Float[Array, " b"]]:
    """Returns the signed moves of each way, and the share of pixels that each of them moves."""
    _, height, width, channels = signs.shape
    pixels = height * width
    order_key, sign_key = jax.random.split(key)
    at_random = jax.random.permutation(order_key, pixels).astype(jnp.float32)
    at_random = jnp.broadcast_to(at_random.reshape(1, height, width), ranks.shape)
    top = chosen_pixels(ranks, signs, share)
    elsewhere = chosen_pixels(at_random, signs, share)
    flips = jax.random.rademacher(sign_key, (1, height, width, channels), signs.dtype)
    moves = [
        jnp.where(top, signs, 0),
        jnp.where(top, -signs, 0),
        jnp.where(top, signs * flips, 0),
        jnp.where(elsewhere, signs, 0),
    ]
    return jnp.stack(moves), top.mean((1, 2, 3), dtype=jnp.float32)


def _of_network(batch: Classified) -> NetworkResult:
    assert batch.extrema is not None
    options, found = batch.options, []
    for method in options.methods:
        found.append(
            small_step(
                batch.apply_fn,
                batch.variables,
                batch.images,
                batch.maps[method],
                claimed_signs(method, batch.extrema),
                batch.extrema.target,
                key=jax.random.key(options.control_seed),
                share=options.step_share,
                epsilons=options.epsilons,
                precision=options.precision,
            )
        )
    arrays = {
        "step_change": jnp.stack([step.change for step in found], 1),
        "step_moved": jnp.stack([step.moved for step in found], 1),
    }
    return NetworkResult(arrays, jnp.stack([step.valid for step in found]).all(0))


def _labels(options: Options) -> Mapping[str, Sequence[Any]]:
    return {
        "step_map": list(options.methods),
        "step_way": list(WAYS),
        "epsilon": list(options.epsilons),
        "step_score": list(SCORES),
    }


ENTRY = Entry(
    "small_step",
    arrays=lambda options, _: {
        "step_change": ArraySpec(
            "float32",
            ("step_map", "step_way", "epsilon", "step_score"),
            (len(options.methods), len(WAYS), len(options.epsilons), len(SCORES)),
        ),
        "step_moved": ArraySpec("float32", ("step_map",), (len(options.methods),)),
    },
    needs=frozenset({MAPS, GRADIENTS}),
    of_network=_of_network,
    mean=("step_change", "step_moved"),
    labels=_labels,
)
