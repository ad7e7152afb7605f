"""Checks that a run's configuration, which anybody may have edited, describes a valid network."""

import math
from typing import Any

from signsal_jax import _checks
from signsal_jax.models import MODELS
from signsal_jax.models.registry import HEADED, MOST_CHANNELS, MOST_CLASSES

_MOST_VALUES = 2**26


def check_network(model: Any, class_names: Any, image_shape: Any, preprocessing: Any) -> None:
    """Raises TypeError or ValueError unless the network can be created; allocates nothing."""
    _checks.check_member("model", model, MODELS)
    _check_class_names(class_names)
    _check_image_shape(image_shape)
    _check_preprocessing(model, preprocessing, image_shape[2])


def _check_class_names(names: Any) -> None:
    if not isinstance(names, list) or not 2 <= len(names) <= MOST_CLASSES:
        got = f"{len(names)}" if isinstance(names, list) else type(names).__name__
        raise ValueError(f"class_names: expected a list of 2 to {MOST_CLASSES}, got {got}")
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"class_names: expected strings, got {type(name).__name__}")


def _check_image_shape(shape: Any) -> None:
    if not (
        isinstance(shape, list)
        and len(shape) == 3
        and all(type(size) is int and size > 0 for size in shape)
    ):
        raise ValueError(f"image_shape: expected [height, width, channels], got {shape!r:.200}")
    if math.prod(shape) > _MOST_VALUES or shape[2] > MOST_CHANNELS:
        raise ValueError(
            f"image_shape: expected at most {MOST_CHANNELS} channels and {_MOST_VALUES} values "
            f"per image, got {shape!r:.200}"
        )


def _check_preprocessing(model: str, preprocessing: Any, channels: int) -> None:
    if preprocessing is None:
        return
    if model not in HEADED:  # the others are trained from scratch, on unchanged pixels
        raise ValueError(f"preprocessing: expected null for {model}, got {preprocessing!r:.200}")
    if not isinstance(preprocessing, dict) or preprocessing.keys() != {"mean", "std"}:
        raise ValueError(f"preprocessing: expected mean and std, got {preprocessing!r:.200}")
    for name, values in preprocessing.items():
        if not (
            isinstance(values, list)
            and len(values) == channels
            and all(type(value) in (int, float) and math.isfinite(value) for value in values)
            and (name == "mean" or min(values) > 0)
        ):
            kind = "finite" if name == "mean" else "positive"
            raise ValueError(
                f"preprocessing: expected {channels} {kind} numbers as {name}, got {values!r:.200}"
            )
