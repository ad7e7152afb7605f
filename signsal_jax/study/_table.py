"""What a study stores: the arrays of its entries and of every study, and how they are summed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from signsal_jax.evaluations.entry import MAPS, ArraySpec, Sizes
from signsal_jax.evaluations.jacobian import small_gram
from signsal_jax.evaluations.registry import chosen
from signsal_jax.gradients import Cut
from signsal_jax.study._config import StudyConfig

_MOST_GROUPS = 512
_MOST_BYTES = 2**30


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


def chunks_per_group(chunks: int, bytes_per_chunk: int) -> int:
    """As many chunks as leave a study some hundred groups, if a group fits about 1 GiB of memory.

    Fewer groups could not keep that many workers busy.
    """
    return max(1, min(-(-chunks // _MOST_GROUPS), _MOST_BYTES // max(bytes_per_chunk, 1)))


def resolve_group(config: StudyConfig, images: int, specs: Mapping[str, ArraySpec]) -> int:
    """Returns how many chunks are stored together, leased and committed as one.

    Args:
      config: of the study; its `group`, if that is a number.
      images: how many the study has.
      specs: the arrays that it stores, see `array_specs`.

    >>> from signsal_jax.study import StudyConfig, array_specs, resolve_group
    >>> config = StudyConfig("imagenet", store=("logits",), chunk=64)
    >>> resolve_group(config, 1_281_167, array_specs(config, (224, 224, 3), 1000))
    40
    """
    if config.group != "auto":
        return config.group
    bytes_per_chunk = config.chunk * sum(spec.nbytes for spec in specs.values())
    return chunks_per_group(-(-images // config.chunk), bytes_per_chunk)


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
