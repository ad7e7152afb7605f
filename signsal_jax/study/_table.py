"""What a study can store: every array's type and dimensions, and how it is summed."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from signsal_jax.maps import COMPARATIVE_METHODS
from signsal_jax.statistics import SHARES
from signsal_jax.study._config import STORABLE, StudyConfig


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
