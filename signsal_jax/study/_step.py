"""The pure step of a study: everything that is stored of one chunk of images."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Int

from signsal_jax._types import ApplyFn, Images, Variables
from signsal_jax.evaluations.deletion import evaluate_deletion
from signsal_jax.gradients import linearize, resolve_target, split_extrema
from signsal_jax.maps import maps_from_extrema
from signsal_jax.sharding import AXES, BY_IMAGE, spread_over_classes
from signsal_jax.statistics import (
    STATISTICS,
    collect_rows,
    pixel_shares,
    rival_pixels,
    row_statistics,
)
from signsal_jax.study._config import StudyConfig


def study_step(
    apply_fn: ApplyFn,
    variables: Variables,
    images: Images,
    labels: Int[Array, " b"],
    *,
    config: StudyConfig,
    mesh: Mesh,
) -> dict[str, Array]:
    """Everything a study stores of one chunk: pure, wrap it in `jax.jit`.

    Args:
      apply_fn: `apply_fn(variables, images) -> logits`, see `signsal_jax.ApplyFn`.
      variables: the classifier's pytree of weights.
      images: float `[b, h, w, c]`, pixels in [0, 1]; b must be a multiple of the mesh's devices.
      labels: `[b]`.
      config: what to compute.
      mesh: from `sharding.make_mesh`.

    Returns:
      By name the arrays of `array_specs`, each `[b, ...]`.
    """
    store, images = config.store, jnp.asarray(images)
    statistics = [name for name in STATISTICS if name in store]

    def gradients(variables: Any, images: Array, labels: Array) -> tuple[dict, dict]:
        spread = spread_over_classes(images)
        logits, pullback = linearize(
            apply_fn, variables, spread, precision=config.precision, min_classes=2
        )
        scores = jax.lax.pmax(logits, "class")
        target = resolve_target(scores, labels if config.target == "label" else config.target)
        extrema, chunks = split_extrema(
            logits,
            pullback,
            spread,
            target,
            config.class_chunk,
            lambda rows: row_statistics(rows, pullback, logits, statistics),
        )
        # A classifier can swallow a NaN pixel: let the gradient carry it on.
        finite = jnp.isfinite(images).all((1, 2, 3), keepdims=True)
        extrema = extrema._replace(gradient=jnp.where(finite, extrema.gradient, jnp.nan))
        saliency = maps_from_extrema(extrema, methods=config.methods)
        found = {
            "label": labels,
            "predicted": jnp.argmax(scores, axis=1).astype(jnp.int32),
            "target": target,
            "valid": saliency.valid,
            "empty": jnp.stack([saliency.empty[method] for method in config.methods], axis=1),
        }
        if "logits" in store:
            found["logits"] = scores
        if "maps" in store:
            for method, values in saliency.maps.items():
                found[f"map_{method}"] = values.astype(config.storage)
        if "runner_up" in store:
            for method, rival in saliency.runner_up.items():
                found[f"runner_up_{method}"] = rival
        if "shares" in store:
            found["shares"] = pixel_shares(extrema)
        if "rivals" in store:
            found["rivals"] = rival_pixels(extrema).astype(jnp.int32)
        for name, rows in chunks.items():
            found[name] = collect_rows(rows, scores.shape[1], config.class_chunk)
        return found, dict(saliency.maps)

    def deletion(variables: Any, images: Array, maps: dict[str, Array]) -> dict[str, Array]:
        curves = evaluate_deletion(
            apply_fn,
            variables,
            images,
            maps,
            curves=config.curves,
            fractions=config.fractions,
            rule=config.rule,
            precision=config.precision,
        )
        ordered = [curves[name] for name in config.curves]
        return {
            "agreement": jnp.stack([curve.agreement for curve in ordered], axis=1),
            "deleted": jnp.stack([curve.deleted for curve in ordered], axis=1),
            "valid": jnp.stack([curve.valid for curve in ordered]).all(0),
        }

    whole = PartitionSpec()
    found, maps = jax.shard_map(
        gradients, mesh=mesh, in_specs=(whole, BY_IMAGE, BY_IMAGE), out_specs=BY_IMAGE
    )(variables, images, labels)
    if "deletion" in store and config.curves:
        # There are no classes to share here, so every device takes images of its own.
        by_device = PartitionSpec(AXES)
        curves = jax.shard_map(
            deletion, mesh=mesh, in_specs=(whole, by_device, by_device), out_specs=by_device
        )(variables, images, maps)
        found["valid"] &= curves.pop("valid")
        found |= curves
    return found
