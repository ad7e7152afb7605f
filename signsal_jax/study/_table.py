"""What a study stores: the arrays of its entries and of every study, and how they are summed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from signsal_jax.evaluations.entry import MAPS, ArraySpec, Sizes
from signsal_jax.evaluations.jacobian import small_gram
from signsal_jax.evaluations.registry import chosen
from signsal_jax.gradients import Cut
from signsal_jax.study._config import StudyConfig


def array_specs(
    config: StudyConfig,
    image_shape: tuple[int, int, int],
    num_classes: int,
    cut: Cut | None = None,
) -> dict[str, ArraySpec]:
    """Every array that a study stores, by name; the first dimension, `image`, left out.

    `cut` is what `study_cut` returns.
    """
    sizes = Sizes(*image_shape[:2], num_classes, small_gram(cut))
    specs = {name: ArraySpec("int32") for name in ("label", "predicted", "target")}
    specs["valid"] = ArraySpec("bool")
    entries = chosen(config.store)
    if any(MAPS in entry.needs for entry in entries):
        specs["empty"] = ArraySpec("bool", ("method",), (len(config.methods),))
    for entry in entries:
        specs |= entry.arrays(config, sizes)
    return specs


def constant_specs(specs: Mapping[str, ArraySpec], cut: Cut | None) -> dict[str, ArraySpec]:
    """The arrays that a study stores once, the same for all images, given those of each image."""
    if cut is None or "feature_gram" not in specs:
        return {}
    return {"score_weights": ArraySpec("float32", ("class", "feature"), (cut.classes, cut.width))}


def dimension_labels(config: StudyConfig, class_names: Sequence[str]) -> dict[str, list[Any]]:
    """What the places along each dimension of the stored arrays stand for."""
    labels: dict[str, list[Any]] = {"class": list(class_names), "method": list(config.methods)}
    for entry in chosen(config.store):
        labels |= {name: list(values) for name, values in entry.labels(config).items()}
    return labels


def chunk_sums(config: StudyConfig, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Counts, and float64 sums over the valid images of one chunk, ready for JSON."""
    valid = arrays["valid"]
    summed = [name for entry in chosen(config.store) for name in entry.mean]
    return {
        "images": len(valid),
        "valid": int(valid.sum()),
        "correct": int((arrays["label"] == arrays["predicted"])[valid].sum()),
        **{
            name: arrays[name][valid].astype(np.float64).sum(0).tolist()
            for name in ("empty", *summed)
            if name in arrays
        },
    }
