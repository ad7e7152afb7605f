"""The deletion benchmark over a whole data set: every image's agreements, then the figures."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from tqdm import tqdm

from signsal_jax import _checks, data
from signsal_jax._types import ApplyFn, Images
from signsal_jax.attribution import saliency_maps
from signsal_jax.evaluations.deletion import PAPER_CURVES, DeletionCurve, evaluate_deletion
from signsal_jax.evaluations.perturbation import PAPER_FRACTIONS
from signsal_jax.maps import METHODS, Saliency
from signsal_jax.metrics import Interval, auc, bootstrap_interval, paired_difference
from signsal_jax.models import Model


class Evaluation(NamedTuple):
    """The deletion benchmark image by image.

    Attributes:
      fractions: `[f]`.
      curves: the names of the curves, (fill, method).
      labels: `[n]`.
      predicted: `[n]`, of the untouched images.
      agreement: `[n, curve, f]`, true where the prediction is unchanged.
      deleted: `[n, curve, f]`, the share of pixels really deleted.
      empty: per method `[n]`, whether that image's map is empty.
    """

    fractions: tuple[float, ...]
    curves: tuple[tuple[str, str], ...]
    labels: np.ndarray
    predicted: np.ndarray
    agreement: np.ndarray
    deleted: np.ndarray
    empty: dict[str, np.ndarray]


class BatchResult(NamedTuple):
    """What one batch leaves on the device."""

    saliency: Saliency
    curves: dict[tuple[str, str], DeletionCurve]


def evaluation_step(
    apply_fn: ApplyFn,
    variables: Any,
    images: Images,
    *,
    fractions: Sequence[float] = PAPER_FRACTIONS,
    rule: str = "paper",
    precision: str | None = "highest",
) -> BatchResult:
    """Five maps and six curves of one batch: pure, everything on the device."""
    saliency = saliency_maps(apply_fn, variables, images, precision=precision)
    curves = evaluate_deletion(
        apply_fn,
        variables,
        images,
        saliency.maps,
        fractions=fractions,
        rule=rule,
        precision=precision,
    )
    return BatchResult(saliency, curves)


def evaluate(
    model: Model,
    dataset: data.Dataset,
    *,
    batch_size: int = 128,
    fractions: Sequence[float] = PAPER_FRACTIONS,
    rule: str = "paper",
    precision: str | None = "highest",
) -> Evaluation:
    """Runs the deletion benchmark on every image of a data set.

    Args:
      model: the classifier, with as many classes as the data set.
      dataset: from `data.load`.
      batch_size: images a step; the last batch is padded and the padding dropped.
      fractions: shares of deleted pixels, each in [0, 1].
      rule: "paper" or "exact", see `deletion_masks`.
      precision: of float32 products, see `signed_jacobian`.

    Returns:
      `Evaluation`.

    Raises:
      ValueError: class counts or channels that do not fit, no images, a batch size below 1, or
        an image whose logits are NaN or whose gradients are not finite (the message names it).

    Reference: arXiv 2309.12913, black and white deletion.
    """
    if len(dataset.class_names) != len(model.class_names):
        raise ValueError(
            f"data set {dataset.name}: expected {len(model.class_names)} classes like the "
            f"network, got {len(dataset.class_names)}"
        )
    if dataset.image_shape[2] != model.input_shape[2]:
        raise ValueError(
            f"data set {dataset.name}: expected {model.input_shape[2]} channels like the "
            f"network, got {dataset.image_shape[2]}"
        )
    if len(dataset) == 0:
        raise ValueError(f"data set {dataset.name}: expected at least one image, got none")
    if batch_size < 1:
        raise ValueError(f"batch_size: expected at least 1, got {batch_size}")

    @jax.jit
    def step(variables: Any, images: Array) -> tuple[Array, Array, Any, list]:
        result = evaluation_step(
            model.apply_fn, variables, images, fractions=fractions, rule=rule, precision=precision
        )
        valid = result.saliency.valid
        for curve in result.curves.values():
            valid &= curve.valid
        curves = [result.curves[name][:2] for name in PAPER_CURVES]
        return result.saliency.target, valid, result.saliency.empty, curves

    labels, parts = [], []
    total = -(-len(dataset) // batch_size)
    for batch in tqdm(
        data.batches(dataset, batch_size), "evaluating", total, unit="batch", delay=2
    ):
        _checks.check_pixel_range(batch.images)
        result = jax.device_get(step(model.variables, batch.images))
        predicted, valid, empty, curves = jax.tree.map(lambda x, m=batch.mask: x[m], result)
        if not valid.all():
            row = sum(map(len, labels)) + int(np.argmin(valid))
            raise ValueError(
                f"{dataset.name} {dataset.split}: expected finite logits and gradients, got NaN "
                f"or infinity at image {row}"
            )
        labels.append(batch.labels[batch.mask])
        agreement = np.stack([agreement for agreement, _ in curves], axis=1)
        deleted = np.stack([deleted for _, deleted in curves], axis=1)
        parts.append((predicted, agreement, deleted, empty))
    predicted, agreement, deleted, empty = jax.tree.map(
        lambda *arrays: np.concatenate(arrays), *parts
    )
    return Evaluation(
        fractions=tuple(float(fraction) for fraction in fractions),
        curves=PAPER_CURVES,
        labels=np.concatenate(labels),
        predicted=predicted,
        agreement=agreement,
        deleted=deleted,
        empty=empty,
    )


def _bounds(interval: Interval) -> list[dict[str, float]]:
    return [
        {"mean": float(mean), "low": float(low), "high": float(high)}
        for mean, low, high in zip(*map(np.asarray, interval), strict=True)
    ]


def summarize(evaluation: Evaluation, *, seed: int = 0) -> dict[str, Any]:
    """The figures of an evaluation, ready for JSON: accuracy, curves, AUCs with intervals.

    Args:
      evaluation: from `evaluate`.
      seed: of the bootstrap over images (1 000 resamples, 95 % intervals).

    Returns:
      A dict: `images`, `accuracy`, and per curve its fill and map, fidelity, deleted share,
      AUC, and AUC minus vanilla's under the same fill, both with intervals.
    """
    key = jax.random.key(seed)
    areas = np.asarray(auc(evaluation.agreement, evaluation.fractions))
    vanilla = {
        fill: areas[:, index]
        for index, (fill, method) in enumerate(evaluation.curves)
        if method == "vanilla"
    }
    baseline = np.stack([vanilla[fill] for fill, _ in evaluation.curves], axis=1)
    intervals = _bounds(bootstrap_interval(key, areas))
    differences = _bounds(paired_difference(key, areas, baseline))
    curves = [
        {
            "fill": fill,
            "map": method,
            "auc": intervals[index],
            "auc_minus_vanilla": differences[index],
            "fidelity": evaluation.agreement[:, index].mean(0, dtype=np.float64).tolist(),
            "deleted": evaluation.deleted[:, index].mean(0, dtype=np.float64).tolist(),
        }
        for index, (fill, method) in enumerate(evaluation.curves)
    ]
    return {
        "images": len(evaluation.labels),
        "accuracy": float((evaluation.labels == evaluation.predicted).mean()),
        "fractions": list(evaluation.fractions),
        "curves": curves,
        "empty_maps": {method: int(evaluation.empty[method].sum()) for method in METHODS},
    }


class Example(NamedTuple):
    """One image with its maps, as a row of the paper's figure."""

    image: np.ndarray
    title: str
    maps: dict[str, np.ndarray]


def examples(model: Model, dataset: data.Dataset, evaluation: Evaluation) -> list[Example]:
    """The first correctly classified image of every class, with its five maps."""
    correct = evaluation.labels == evaluation.predicted
    rows = [
        int(np.flatnonzero(correct & (evaluation.labels == label))[0])
        for label in range(len(dataset.class_names))
        if (correct & (evaluation.labels == label)).any()
    ]
    if not rows:
        return []
    images = data.to_float(np.stack([dataset.source[row][0] for row in rows]))
    step = jax.jit(lambda variables, images: saliency_maps(model.apply_fn, variables, images).maps)
    maps = jax.device_get(step(model.variables, images))
    return [
        Example(
            images[place],
            dataset.class_names[evaluation.labels[row]],
            {method: maps[method][place] for method in METHODS},
        )
        for place, row in enumerate(rows)
    ]
