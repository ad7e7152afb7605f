"""Eager checks of static facts: ranks, dtypes, names and numbers."""

from collections.abc import Iterable, Sequence
from typing import Any

import jax.core
import jax.numpy as jnp
import numpy as np
from jax import Array

_ONE_LOGIT = ": for a sigmoid classifier pass signsal_jax.two_class(apply_fn)"


def check_logits(logits: Any, batch: Any, *, min_classes: int = 1) -> None:
    """Raises unless `logits` is floating `[batch, k]` with `k >= min_classes`."""
    if not isinstance(logits, Array | np.ndarray):
        raise TypeError(
            f"apply_fn: expected one array of logits [batch, classes], got {type(logits).__name__}"
        )
    if logits.ndim != 2 or logits.shape[0] != batch:
        hint = _ONE_LOGIT if logits.ndim == 1 else ""
        raise ValueError(
            f"apply_fn: expected logits of shape [{batch}, classes], got {logits.shape}{hint}"
        )
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        raise TypeError(f"apply_fn: expected floating-point logits, got {logits.dtype}")
    if logits.shape[1] < min_classes:
        raise ValueError(
            f"apply_fn: expected at least {min_classes} classes, got {logits.shape}{_ONE_LOGIT}"
        )


def check_classifier(apply_fn: Any) -> None:
    """Raises unless `apply_fn` can be called."""
    if not callable(apply_fn):
        raise TypeError(
            "apply_fn: expected a function apply_fn(variables, images) -> logits, got "
            f"{type(apply_fn).__name__}"
        )


def check_member(name: str, value: Any, valid: Sequence[str]) -> None:
    """Raises unless `value` is one of `valid`; the message lists them."""
    # Not with `in` alone: an array would be compared element by element.
    if not isinstance(value, str) or value not in valid:
        raise ValueError(f"{name}: expected one of {', '.join(valid)}; got {value!r:.80}")


def check_flag(name: str, value: Any) -> None:
    """Raises unless `value` is True or False: the text "no" would count as True."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: expected True or False, got {value!r:.80}")


def check_integer(name: str, value: Any, *, least: int, most: int = 2**31 - 1) -> int:
    """Returns the value as an int; raises unless it is an integer in `[least, most]`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name}: expected an integer, at least {least}; got {value!r:.80}")
    if not least <= value <= most:
        raise ValueError(f"{name}: expected an integer in [{least}, {most}], got {value!r:.80}")
    return int(value)


def check_real(name: str, value: Any) -> float:
    """Raises unless `value` is a real number known to the host."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name}: expected a number, got {value!r:.80}")
    return float(value)


def check_string(name: str, value: Any) -> str:
    """Raises unless `value` is a string that is not empty."""
    if not isinstance(value, str) or not value:
        raise TypeError(f"{name}: expected a name, got {value!r:.80}")
    return value


def check_share(name: str, value: Any) -> float:
    """Returns the value as a float; raises unless it is a number in (0, 1)."""
    number = isinstance(value, int | float | np.integer | np.floating)
    if isinstance(value, bool) or not number:
        raise TypeError(f"{name}: expected a number in (0, 1), got {value!r:.80}")
    if not 0 < value < 1:
        raise ValueError(f"{name}: expected a number in (0, 1), got {value!r:.80}")
    return float(value)


def check_key(name: str, key: Any) -> None:
    """Raises unless `key` is a single `jax.random` key, typed or raw (uint32)."""
    if isinstance(key, Array):
        typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
        if (typed and key.ndim == 0) or (key.ndim == 1 and key.dtype == jnp.uint32):
            return
    raise TypeError(
        f"{name}: expected one key from jax.random.key, got {getattr(key, 'dtype', key)!r:.80} of "
        f"shape {getattr(key, 'shape', ())}"
    )


def check_numbers(name: str, values: Any, ranks: Sequence[int] | None = None) -> Array:
    """Returns an array; raises unless the values are real or boolean and of one of these ranks."""
    values = as_array(name, values)
    kinds = (jnp.floating, jnp.integer, jnp.bool_)
    if not any(jnp.issubdtype(values.dtype, kind) for kind in kinds):
        raise TypeError(f"{name}: expected real numbers, got {values.dtype}")
    if ranks is not None and values.ndim not in ranks:
        expected = " or ".join(str(rank) for rank in ranks)
        raise ValueError(f"{name}: expected rank {expected}, got shape {values.shape}")
    return jnp.asarray(values)


def check_boolean(name: str, values: Any) -> None:
    """Raises unless `values` are booleans: the sum of other numbers would not be a count."""
    dtype = as_array(name, values).dtype
    if not jnp.issubdtype(dtype, jnp.bool_):
        raise TypeError(f"{name}: expected booleans, got {dtype}")


def as_array(name: str, values: Any) -> Array | np.ndarray:
    """Returns the values as an array of any type; raises if rows differ in length."""
    if isinstance(values, Array | np.ndarray):
        return values
    try:
        return np.asarray(values)
    except (TypeError, ValueError) as error:  # such as rows of different lengths
        raise TypeError(f"{name}: expected numbers, got {values!r:.80}") from error


def check_methods(methods: Any, valid: Sequence[str], name: str = "methods") -> tuple[str, ...]:
    """Returns the methods as a tuple; raises for a string, no names, unknown or repeated names."""
    if isinstance(methods, str):
        raise TypeError(f"{name}: expected a sequence of names, got the string {methods!r:.80}")
    if not isinstance(methods, Iterable):
        raise TypeError(f"{name}: expected a sequence of names, got {methods!r:.80}")
    methods = tuple(methods)
    if not methods:
        raise ValueError(f"{name}: expected at least one of {', '.join(valid)}; got none")
    for method in methods:
        check_member(name, method, valid)
    if len(set(methods)) != len(methods):
        raise ValueError(f"{name}: expected each name once, got {methods}")
    return methods


def check_mesh(mesh: Any) -> None:
    """Raises unless `mesh` has the axes that images and classes are split over."""
    if not isinstance(mesh, jax.sharding.Mesh) or not {"data", "class"} <= {*mesh.axis_names}:
        raise TypeError(
            "mesh: expected a mesh with the axes data and class, such as from "
            f"signsal_jax.sharding.make_mesh, got {mesh!r:.80}"
        )


def check_class_chunk(class_chunk: Any, *, auto: bool = False) -> None:
    """Raises unless `class_chunk` is None, a positive integer or, if `auto` is set, "auto"."""
    if class_chunk is None or (auto and isinstance(class_chunk, str) and class_chunk == "auto"):
        return
    expected = f"class_chunk: expected None{', auto' if auto else ''} or a positive integer"
    if isinstance(class_chunk, bool) or not isinstance(class_chunk, int | np.integer):
        raise TypeError(f"{expected}, got {class_chunk!r}")
    if class_chunk < 1:
        raise ValueError(f"{expected}, got {class_chunk}")


def check_integers(name: str, indices: Any) -> Array | np.ndarray:
    """Returns the indices as an array; raises unless they are integers."""
    values = as_array(name, indices)
    if not jnp.issubdtype(values.dtype, jnp.integer):
        raise TypeError(f"{name}: expected integer class indices, got {values.dtype}")
    return values


def check_indices(name: str, indices: Any, num_classes: int) -> Array:
    """Returns an int32 array; raises unless the indices are integers and, as host values, in range.

    Device arrays are not read, since that would wait for the device: an index out of range is
    flagged in the results instead (`Saliency.valid`).
    """
    values = check_integers(name, indices)
    if isinstance(values, Array):
        return as_int32(values)
    wrong = values[(values < 0) | (values >= num_classes)]
    if wrong.size:
        raise ValueError(
            f"{name}: expected class indices in [0, {num_classes - 1}], got {wrong.flat[0]}"
        )
    return jnp.asarray(values, jnp.int32)


def as_int32(indices: Array | np.ndarray) -> Array:
    """Converts to int32; wider types are clipped, so that no index wraps to one in range.

    Narrower types are widened: the number of classes, to which they are compared, might not fit.
    """
    limits = jnp.iinfo(jnp.int32)
    if jnp.iinfo(indices.dtype).max > limits.max:
        lowest = max(limits.min, int(jnp.iinfo(indices.dtype).min))
        indices = indices.clip(lowest, limits.max)
    return jnp.asarray(indices, jnp.int32)


def check_fractions(fractions: Any) -> np.ndarray:
    """Returns the fractions as an array `[f]`; raises unless they are numbers in [0, 1]."""
    if isinstance(fractions, jax.core.Tracer):
        raise TypeError("fractions: expected numbers that are known when tracing, got a tracer")
    values = np.asarray(as_array("fractions", fractions))
    if values.ndim != 1 or not len(values):
        raise ValueError(f"fractions: expected a sequence of numbers, got shape {values.shape}")
    if not any(np.issubdtype(values.dtype, kind) for kind in (np.floating, np.integer)):
        raise TypeError(f"fractions: expected numbers in [0, 1], got {values.dtype}")
    wrong = values[~((values >= 0) & (values <= 1))]
    if wrong.size:
        raise ValueError(f"fractions: expected numbers in [0, 1], got {wrong[0]}")
    return values.astype(np.float64)
