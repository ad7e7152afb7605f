"""Classifying images after deletion or insertion, in the fastest order."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, export
from jaxtyping import Bool, Float, Int

from signsal_jax import _checks
from signsal_jax._jaxpr import run_once
from signsal_jax._precision import at_least_float32, matmul_precision
from signsal_jax._types import ApplyFn, Images, Variables
from signsal_jax.evaluations.entry import ArraySpec, NetworkResult, Options
from signsal_jax.evaluations.perturbation import deleted_counts, deletion_masks, fill_values

# On CPU one batch of all curves is fastest while it is small, and two fractions per step let
# operations that use all cores overlap with those that use one. Where a fill is computed, smaller
# batches stay in the cache.
_CPU_PIXELS = 2**20
_CPU_PIXELS_COMPUTED = 2**18
_CPU_FRACTIONS = 2


Filling = Callable[[Array, Array], Array]


class Curve(NamedTuple):
    """One curve: agreement `[b, f]`, the share of selected pixels `[b, f]`, and `[b]` validity."""

    agreement: Bool[Array, "b f"]
    share: Float[Array, "b f"]
    valid: Bool[Array, " b"]


def perturbation_curves(
    apply_fn: ApplyFn,
    variables: Variables,
    images: Images,
    maps: Mapping[str, Array],
    predicted: Int[Array, " b"],
    *,
    curves: Sequence[tuple[str, str]],
    fills: Mapping[str, Any],
    fractions: Sequence[float] | np.ndarray,
    rule: str,
    precision: str | None,
    insert: bool,
) -> dict[tuple[str, str], Curve]:
    """Selects the most salient pixels of each map once, then fills them, or puts them on the fill.

    Args:
      predicted: the class of the unchanged images.
      curves: pairs (name of a fill, name of a map).
      fills: by name, what `fill_values` takes, or a function of images and a mask that gives the
        fill.
      insert: put the selected pixels of the image on the fill, instead of the fill on them.

    Raises:
      ValueError: maps of another size than the images; as `deletion_masks`, `fill_values`.
    """
    if not curves:
        return {}
    images = jnp.asarray(images)
    selected = {}
    for name in dict.fromkeys(name for _, name in curves):
        if maps[name].shape != images.shape[:3]:
            raise ValueError(
                f"maps[{name!r}]: expected the images' shape {images.shape[:3]} (reduce the "
                f"channels first), got {maps[name].shape}"
            )
        selected[name] = deletion_masks(maps[name], fractions=fractions, rule=rule)
    # A fraction that deletes nothing needs no forward pass: it agrees with the unchanged image.
    counts = deleted_counts(fractions, images.shape[1] * images.shape[2])
    changed = np.full(len(counts), True) if insert else counts > 0
    batch = images.shape[0]
    agreement = jnp.ones((len(counts), len(curves), batch), bool)
    valid = jnp.ones((len(curves), batch), bool)
    if changed.any():
        overwritten = {name: ~mask if insert else mask for name, mask in selected.items()}
        with matmul_precision(precision):
            agreeing, numbers = _agreements(
                apply_fn,
                variables,
                images,
                [overwritten[name][changed] for _, name in curves],
                [_filling(fills[fill], images) for fill, _ in curves],
                predicted,
                _CPU_PIXELS_COMPUTED if any(map(callable, fills.values())) else _CPU_PIXELS,
            )
        agreement = agreement.at[changed].set(agreeing)
        valid &= numbers.all(0)
    results = {}
    for index, (fill, name) in enumerate(curves):
        whole = ~jnp.isnan(maps[name]).any((1, 2))
        # Not in the images' own precision: bfloat16 cannot count past 256.
        share = selected[name].mean((2, 3), dtype=at_least_float32(images.dtype)).T
        results[fill, name] = Curve(agreement[:, index].T, share, valid[index] & whole)
    return results


def curve_specs(
    dimension: str, curves: int, options: Options, *, agreement: str, share: str
) -> dict[str, ArraySpec]:
    """Returns the specs of the two arrays that store curves."""
    sizes = ((dimension, "fraction"), (curves, len(options.fractions)))
    return {agreement: ArraySpec("bool", *sizes), share: ArraySpec("float32", *sizes)}


def curve_labels(
    dimension: str, curves: Sequence[tuple[str, str]], options: Options
) -> dict[str, Sequence[Any]]:
    """Returns the labels along the dimensions of `curve_specs`."""
    return {
        dimension: [f"{fill} {method}" for fill, method in curves],
        "fraction": list(options.fractions),
    }


def stacked(
    curves: Mapping[tuple[str, str], Curve], *, agreement: str, share: str
) -> NetworkResult:
    """Stacks curves to the arrays of `curve_specs`, `[b, curve, f]`."""
    ordered = list(curves.values())
    arrays = {
        agreement: jnp.stack([curve.agreement for curve in ordered], axis=1),
        share: jnp.stack([curve.share for curve in ordered], axis=1),
    }
    return NetworkResult(arrays, jnp.stack([curve.valid for curve in ordered]).all(0))


def _filling(fill: Any, images: Array) -> Filling:
    """Returns the fill as a function of images and a mask."""
    if callable(fill):
        return cast(Filling, fill)
    values = fill_values(fill, images)
    return lambda *_: values


def _agreements(
    apply_fn: ApplyFn,
    variables: Variables,
    images: Array,
    masks: list[Bool[Array, "f b h w"]],
    fills: list[Filling],
    predicted: Int[Array, " b"],
    cpu_pixels: int,
) -> tuple[Bool[Array, "f n b"], Bool[Array, "f n b"]]:
    """Returns, for `n` masks and fills, the agreement and whether no logit was NaN.

    On CPU, about `cpu_pixels` are classified at once.
    """

    def judge(deleted: Array) -> tuple[Array, Array]:
        logits = apply_fn(variables, deleted)
        _checks.check_logits(logits, deleted.shape[0])
        classes = jnp.argmax(logits, axis=1).reshape(-1, images.shape[0])
        return classes == predicted[None], ~jnp.isnan(logits).any(1).reshape(classes.shape)

    def delete_all(masks: list[Array]) -> list[Array]:
        return [
            jnp.where(mask[..., None], fill(images, mask), images)
            for mask, fill in zip(masks, fills, strict=True)
        ]

    def over_fractions(curves: int, unroll: int) -> Callable:
        def step(_: None, masks: list[Array]) -> tuple[None, tuple[Array, Array]]:
            deleted = delete_all(masks)
            groups = [deleted[start : start + curves] for start in range(0, len(masks), curves)]
            results = [judge(jnp.concatenate(group)) for group in groups]
            return None, jax.tree.map(lambda *parts: jnp.concatenate(parts), *results)

        return lambda masks: jax.lax.scan(step, None, masks, unroll=unroll)[1]

    pixels = math.prod(images.shape[:3])
    if export.is_symbolic_dim(pixels):
        curves = 1  # the batch may be of any size
    else:
        curves = min(max(cpu_pixels // max(pixels, 1), 1), len(masks))
    by_platform = functools.partial(
        jax.lax.platform_dependent,
        cpu=over_fractions(curves, _CPU_FRACTIONS if curves == len(masks) else 1),
        default=over_fractions(1, 1),
    )
    return run_once(by_platform, masks)
