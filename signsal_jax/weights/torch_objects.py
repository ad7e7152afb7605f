"""What the pickles of torch's files may name, as inert descriptions: tensors, storages, dicts."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from signsal_jax.weights.errors import WeightsError, printable

_DTYPES: dict[str, np.dtype] = {
    "FloatStorage": np.dtype(np.float32),
    "DoubleStorage": np.dtype(np.float64),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(jnp.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}
_MOST_DIMENSIONS = 32
LONGEST_NAME = 4096


class Storage(NamedTuple):
    """A flat array of numbers stored elsewhere in the file."""

    dtype: np.dtype
    key: str
    size: int


class Tensor(NamedTuple):
    """A strided view of a storage; strides and offset count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Constructor(NamedTuple):
    """What builds an object of a pickle."""

    function: Callable[..., Any]


class StorageType(NamedTuple):
    """What a pickle names to say of which numbers a storage is."""

    dtype: np.dtype


def describe(value: Any) -> str:
    """Names the kind of a value in messages; its contents could be of any size and depth."""
    return "a single tensor" if isinstance(value, Tensor) else f"a {type(value).__name__}"


def is_natural(value: Any) -> bool:
    """Whether a value is a size that fits 64 bits."""
    return type(value) is int and 0 <= value < 2**63


def _sizes(value: Any) -> bool:
    return (
        isinstance(value, tuple) and len(value) <= _MOST_DIMENSIONS and all(map(is_natural, value))
    )


def _tensor(storage: Any = None, offset: Any = 0, shape: Any = (), strides: Any = (), *_) -> Tensor:
    if not isinstance(storage, Storage) or not is_natural(offset):
        raise WeightsError("a tensor without a storage")
    if not _sizes(shape) or not _sizes(strides) or len(shape) != len(strides):
        raise WeightsError(
            f"a tensor needs a shape and as many strides, at most {_MOST_DIMENSIONS} integers >= 0"
        )
    return Tensor(storage, offset, shape, strides)


def _parameter(tensor: Any = None, *_: Any) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise WeightsError("a parameter without a tensor")
    return tensor


def set_item(target: dict[str | int, Any], key: Any, value: Any) -> None:
    """Sets an item of a dictionary.

    Raises:
      WeightsError: a key other than a string of bounded length or an integer.
    """
    # Other keys would be hashed: nested tuples take forever or overflow the C stack.
    if type(key) not in (str, int):
        raise WeightsError(f"expected strings or integers as dictionary keys, got {describe(key)}")
    if isinstance(key, str) and len(key) > LONGEST_NAME:
        raise WeightsError(f"expected names of at most {LONGEST_NAME} characters, got {len(key)}")
    target[key] = value


def _ordered_dict(pairs: Any = ()) -> dict[str | int, Any]:
    result: dict[str | int, Any] = {}
    for pair in pairs if isinstance(pairs, list | tuple) else [None]:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise WeightsError("expected pairs of a key and a value in a dictionary")
        set_item(result, *pair)
    return result


# Keys in the format of pickletools: module, space, name.
_GLOBALS: dict[str, Constructor | StorageType] = {
    "collections OrderedDict": Constructor(_ordered_dict),
    "torch._utils _rebuild_tensor_v2": Constructor(_tensor),
    "torch._utils _rebuild_parameter": Constructor(_parameter),
    **{f"torch {name}": StorageType(dtype) for name, dtype in _DTYPES.items()},
}


def known(name: str) -> Constructor | StorageType:
    """What stands for the module and name, separated by a space, in a pickle.

    Raises:
      WeightsError: nothing does.
    """
    try:
        return _GLOBALS[name]
    except KeyError:
        raise WeightsError(
            "expected tensors and plain containers only, got "
            f"{printable(name.replace(' ', '.', 1))}, which was not executed: save the network's "
            "state_dict() alone"
        ) from None
