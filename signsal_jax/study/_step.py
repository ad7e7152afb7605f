"""The pure step of a study: everything that is stored of one chunk of images."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Int

from signsal_jax._methods import contrasts_of
from signsal_jax._types import ApplyFn, ClassExtrema, Images, Logits, Variables
from signsal_jax.evaluations.entry import (
    GRADIENTS,
    LINEAR,
    MAPS,
    Classified,
    Explained,
    NetworkResult,
)
from signsal_jax.evaluations.registry import chosen
from signsal_jax.gradients import (
    CPU_CLASSES,
    Estimator,
    Factors,
    Pullback,
    class_extrema,
    contrast_gradients,
    feature_extrema,
    linearize,
    require_linear,
    resolve_chunk,
    resolve_target,
    split_extrema,
    target_extrema,
    target_gradient,
)
from signsal_jax.maps import maps_from_extrema, valid_images
from signsal_jax.sharding import AXES, BY_IMAGE, from_first, spread_over_classes
from signsal_jax.statistics import collect_rows, row_statistics
from signsal_jax.study._config import StudyConfig
from signsal_jax.study._cut import compares_classes, needs_every_class, needs_of, study_cut


def study_step(
    apply_fn: ApplyFn,
    variables: Variables,
    images: Images,
    labels: Int[Array, " b"],
    *,
    config: StudyConfig,
    mesh: Mesh,
    estimator: Estimator | None = None,
) -> dict[str, Array]:
    """Everything a study stores of one chunk: pure, wrap it in `jax.jit`.

    Computes what the entries of `config.store` need and nothing else: no gradient for logits
    alone, one pullback where neither an entry nor active or inactive asks for all classes.

    Args:
      apply_fn: `apply_fn(variables, images) -> logits`, see `signsal_jax.ApplyFn`.
      variables: the classifier's pytree of weights.
      images: float `[b, h, w, c]`, pixels in [0, 1]; b must be a multiple of the mesh's devices.
      labels: `[b]`.
      config: what to compute.
      mesh: from `sharding.make_mesh`.
      estimator: the gradient method, see `signed_jacobian`; None for the configuration's.

    Returns:
      By name the arrays of `array_specs`, each `[b, ...]`.

    Raises:
      ValueError: an entry that needs an estimator linear in the class scores, and one that is not.
    """
    images = jnp.asarray(images)
    estimator = config.make_estimator() if estimator is None else estimator
    entries = chosen(config.store)
    for entry in entries:
        if LINEAR in entry.needs:
            require_linear(estimator, entry.name)
    needs = needs_of(entries)
    by_class = {entry.name: entry.of_class for entry in entries if entry.of_class}
    by_pair = {entry.name: entry.of_pair for entry in entries if entry.of_pair}
    by_network = [entry.of_network for entry in entries if entry.of_network]
    contrasts = contrasts_of(config.methods) if MAPS in needs else ()
    every_class = needs_every_class(config)
    # Where there are no classes to share, every device takes images of its own.
    by_device = PartitionSpec(AXES)
    by_batch = BY_IMAGE if every_class else by_device

    def rows_of(gradients: Array, pullback: Pullback, logits: Logits) -> dict[str, Array]:
        return row_statistics(gradients, pullback, logits, by_class, by_pair)

    def of_features(factors: Factors) -> dict[str, Array]:
        found: dict[str, Array] = {}
        for entry in entries:
            if entry.of_features is not None:
                found |= entry.of_features(factors)
        return found

    def explain(variables: Any, images: Array, labels: Array) -> tuple[dict, dict, Any]:
        inputs = spread_over_classes(images) if every_class else images
        class_chunk = resolve_chunk(config.class_chunk, apply_fn, variables, inputs)
        settings: dict[str, Any] = {"estimator": estimator, "precision": config.precision}
        wanted = labels if config.target == "label" else config.target
        cut = study_cut(config, apply_fn, variables, inputs, estimator)
        found: dict[str, Array] = {}
        if cut is not None:
            extrema, found = feature_extrema(
                apply_fn,
                variables,
                inputs,
                cut,
                target=wanted,
                class_chunk=class_chunk,
                contrasts=contrasts,
                axis="class",
                also=of_features,
                **settings,
            )
            return finished(extrema.logits, extrema, extrema.target, found, images, labels)
        logits, pullback = linearize(apply_fn, variables, inputs, min_classes=2, **settings)
        scores = from_first(logits, "class") if every_class else logits
        target = resolve_target(scores, wanted)
        if by_class or by_pair:
            extrema, chunks = split_extrema(
                logits,
                pullback,
                inputs,
                target,
                class_chunk,
                functools.partial(rows_of, pullback=pullback, logits=logits),
            )
            for name, rows in chunks.items():
                found[name] = collect_rows(rows, scores.shape[1], class_chunk)
        elif every_class:
            extrema = _streamed_extrema(logits, pullback, inputs, target, class_chunk)
        elif needs:
            extrema = target_extrema(logits, pullback, images, target)
        else:
            extrema = None
        if extrema is not None and contrasts:
            against = contrast_gradients(logits, pullback, inputs, target, contrasts)
            if every_class:
                against = jax.tree.map(lambda gradient: from_first(gradient, "class"), against)
            extrema = extrema._replace(contrasts=against)
        return finished(scores, extrema, target, found, images, labels)

    def finished(
        scores: Logits,
        extrema: ClassExtrema | None,
        target: Array,
        found: dict[str, Array],
        images: Array,
        labels: Array,
    ) -> tuple[dict, dict, Any]:
        saliency = None
        if extrema is None:
            valid = jnp.isfinite(images).all((1, 2, 3)) & ~jnp.isnan(scores).any(1)
        else:
            valid = valid_images(extrema)
            if MAPS in needs:
                saliency = maps_from_extrema(extrema, methods=config.methods)
        found |= {
            "label": labels,
            "predicted": jnp.argmax(scores, axis=1).astype(jnp.int32),
            "target": target,
            "valid": valid,
        }
        if saliency is not None:
            found["empty"] = jnp.stack(list(saliency.empty.values()), axis=1)
        explained = Explained(config, scores, extrema, saliency)
        for entry in entries:
            if entry.of_image is not None:
                found |= entry.of_image(explained)
        maps = dict(saliency.maps) if saliency is not None else {}
        if extrema is not None:
            extrema = extrema._replace(logits=scores)
        return found, maps, extrema if GRADIENTS in needs else None

    def explain_again(variables: Any, images: Images, target: Int[Array, " b"]) -> ClassExtrema:
        settings: dict[str, Any] = {"target": target, "contrasts": contrasts}
        settings |= {"precision": config.precision, "estimator": estimator}
        if compares_classes(config):
            settings |= {"class_chunk": config.class_chunk, "through": config.through}
            return class_extrema(apply_fn, variables, images, **settings)
        return target_gradient(apply_fn, variables, images, **settings)

    def perturb(
        variables: Any, images: Array, predicted: Array, explained: tuple
    ) -> list[NetworkResult]:
        given = apply_fn, variables, images, predicted
        batch = Classified(config, *given, *explained, explain=explain_again)
        return [of_network(batch) for of_network in by_network]

    whole = PartitionSpec()
    found, *explained = jax.shard_map(
        explain, mesh=mesh, in_specs=(whole, by_batch, by_batch), out_specs=by_batch
    )(variables, images, labels)
    if by_network:
        results = jax.shard_map(
            perturb,
            mesh=mesh,
            in_specs=(whole, by_device, by_device, by_device),
            out_specs=by_device,
        )(variables, images, found["predicted"], tuple(explained))
        for arrays, valid in results:
            found |= arrays
            found["valid"] &= valid
    return found


def _streamed_extrema(
    logits: Logits,
    pullback: Pullback,
    images: Images,
    target: Int[Array, " b"],
    class_chunk: int | None,
) -> ClassExtrema:
    """`split_extrema` with no more classes at a time on CPU than are fastest there."""

    def by(chunk: int | None) -> Any:
        return lambda target: split_extrema(logits, pullback, images, target, chunk)[0]

    few = min(CPU_CLASSES, class_chunk or CPU_CLASSES)
    return jax.lax.platform_dependent(target, cpu=by(few), default=by(class_chunk))
