"""A study of a whole data set: what it computes, one pure step, and the loop over chunks."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Int

from signsal_jax import _checks
from signsal_jax._pullbacks import linearize
from signsal_jax._types import ApplyFn, Images, Variables
from signsal_jax.deletion import PAPER_CURVES, evaluate_deletion
from signsal_jax.jacobian import resolve_target
from signsal_jax.maps import COMPARATIVE_METHODS, METHODS, maps_from_extrema
from signsal_jax.perturbation import PAPER_FRACTIONS, RULES
from signsal_jax.sharded_extrema import split_extrema
from signsal_jax.sharding import AXES, BY_IMAGE, spread_over_classes
from signsal_jax.statistics import (
    SHARES,
    STATISTICS,
    collect_rows,
    pixel_shares,
    rival_pixels,
    row_statistics,
)

STORABLE = ("maps", "logits", "runner_up", "deletion", "shares", "rivals", *STATISTICS)
STORAGES = ("float16", "float32")
TARGETS = ("predicted", "label")


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    """What a study computes; two studies with equal fields give the same numbers."""

    dataset: str
    split: str = "test"
    """One split, or several joined as in "train+test"."""
    images: int | None = None
    """Only the first so many; None for all."""
    model: str | None = None
    run: str | None = None
    weights: str | None = None
    preprocess: bool = True
    methods: tuple[str, ...] = METHODS
    target: str | int = "predicted"
    """"predicted", "label", or a class index."""
    store: tuple[str, ...] = ("maps", "logits", "deletion", "shares", "norm")
    """Any of `STORABLE`."""
    fractions: tuple[float, ...] = PAPER_FRACTIONS
    rule: str = "paper"
    precision: str = "highest"
    """Of float32 products, see `signed_jacobian`."""
    storage: str = "float16"
    """The type that maps are stored in."""
    chunk: int = 64
    """Images computed, stored and committed together."""
    class_chunk: int | None = None
    """Classes pulled back at a time on each device."""

    def __post_init__(self) -> None:
        _checks.check_methods(self.methods, METHODS)
        for name in self.store:
            _checks.check_member("store", name, STORABLE)
        _checks.check_member("rule", self.rule, RULES)
        _checks.check_member("storage", self.storage, STORAGES)
        _checks.check_class_chunk(self.class_chunk)
        _checks.check_fractions(self.fractions)
        if isinstance(self.target, str):
            _checks.check_member("target", self.target, TARGETS)
        if self.chunk < 1:
            raise ValueError(f"chunk: expected at least 1, got {self.chunk}")
        if self.images is not None and self.images < 1:
            raise ValueError(f"images: expected at least 1, got {self.images}")

    @property
    def curves(self) -> tuple[tuple[str, str], ...]:
        """The deletion curves whose map is computed, (fill, method)."""
        return tuple(curve for curve in PAPER_CURVES if curve[1] in self.methods)


class ArraySpec(NamedTuple):
    """One stored array: its type, its dimensions after the image, and their sizes."""

    dtype: str
    dimensions: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()


def array_specs(
    config: StudyConfig, image_shape: tuple[int, int, int], num_classes: int
) -> dict[str, ArraySpec]:
    """Every array that a study stores, by name; the first dimension, `image`, left out."""
    height, width, _ = image_shape
    pixels = (("height", "width"), (height, width))
    by_class = (("class",), (num_classes,))
    pairs = (("class", "other_class"), (num_classes, num_classes))
    curves = (("curve", "fraction"), (len(config.curves), len(config.fractions)))
    parts = {
        "maps": {f"map_{method}": ArraySpec(config.storage, *pixels) for method in config.methods},
        "logits": {"logits": ArraySpec("float32", *by_class)},
        "runner_up": {
            f"runner_up_{method}": ArraySpec("int32", *pixels)
            for method in config.methods
            if method in COMPARATIVE_METHODS
        },
        "deletion": {
            "agreement": ArraySpec("bool", *curves),
            "deleted": ArraySpec("float32", *curves),
        },
        "shares": {"shares": ArraySpec("float32", ("share",), (len(SHARES),))},
        "rivals": {"rivals": ArraySpec("int32", ("rivalry", "class"), (2, num_classes))},
        "norm": {"norm": ArraySpec("float32", *by_class)},
        "gram": {"gram": ArraySpec("float32", *pairs)},
        "sign_agreement": {"sign_agreement": ArraySpec("float32", *pairs)},
    }
    specs = {name: ArraySpec("int32") for name in ("label", "predicted", "target")}
    specs["valid"] = ArraySpec("bool")
    specs["empty"] = ArraySpec("bool", ("method",), (len(config.methods),))
    for name in STORABLE:
        if name in config.store:
            specs |= parts[name]
    return specs


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


def chunk_sums(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Counts, and float64 sums over the valid images of one chunk, ready for JSON."""
    valid = arrays["valid"]
    summed = ("empty", "agreement", "deleted", "shares", "norm")
    return {
        "images": len(valid),
        "valid": int(valid.sum()),
        "correct": int((arrays["label"] == arrays["predicted"])[valid].sum()),
        **{
            name: arrays[name][valid].astype(np.float64).sum(0).tolist()
            for name in summed
            if name in arrays
        },
    }


def run_chunks(
    step: Callable[..., dict[str, Array]],
    chunks: Iterable[int],
    read: Callable[[int], tuple[tuple[Array, Array], int]],
    write: Callable[[int, dict[str, np.ndarray]], None],
    stop: Callable[[], bool],
) -> None:
    """Computes chunks one after another; the next runs on the device while one is written.

    Args:
      step: `step(images, labels)`, compiled.
      chunks: their numbers.
      read: gives a chunk's placed (images, labels) and how many of the rows are real.
      write: stores and commits a chunk's arrays; returns once they are durable.
      stop: asked before each chunk; what was started is still committed.
    """

    def finish(chunk: int, rows: int, result: dict[str, Array]) -> None:
        write(chunk, {name: np.asarray(values)[:rows] for name, values in result.items()})

    started: tuple[int, int, dict[str, Array]] | None = None
    for chunk in chunks:
        if stop():
            break
        inputs, rows = read(chunk)
        following = (chunk, rows, step(*inputs))
        if started:
            finish(*started)
        started = following
    if started:
        finish(*started)
