"""A pickle reader that knows torch's tensors and plain containers, and can do nothing else.

A pickle is a program: it may name any function of any installed module and call it. This reader
resolves only the names below, to constructors of inert descriptions, so whatever a file asks for
beyond tensors is refused before it runs. The constructors are immutable, because a pickle can
also set attributes on whatever it can name.
"""

import io
import pickle
import pickletools
import reprlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from signsal_jax.weights.errors import WeightsError

STORAGE_DTYPES: dict[str, np.dtype] = {
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


class Storage(NamedTuple):
    """A flat run of numbers that lies elsewhere in the file."""

    dtype: np.dtype
    key: str
    size: int


class Tensor(NamedTuple):
    """A strided view of a storage; strides and offset count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Constructor(NamedTuple):
    function: Callable[..., Any]

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


class _StorageType(NamedTuple):
    dtype: np.dtype


class _OrderedDict(dict):
    """Stands in for `collections.OrderedDict`; attributes that torch hangs on it are dropped."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        pass


def _naturals(value: Any) -> bool:
    return isinstance(value, tuple) and all(type(i) is int and i >= 0 for i in value)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    if not isinstance(storage, Storage) or type(offset) is not int or offset < 0:
        raise WeightsError("a tensor without a storage")
    if not _naturals(shape) or not _naturals(strides) or len(shape) != len(strides):
        raise WeightsError(
            f"a tensor of shape {reprlib.repr(shape)} and strides {reprlib.repr(strides)}"
        )
    return Tensor(storage, offset, shape, strides)


def _parameter(tensor: Any, *_: Any) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise WeightsError("a parameter without a tensor")
    return tensor


_GLOBALS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _Constructor(_OrderedDict),
    ("torch._utils", "_rebuild_tensor_v2"): _Constructor(_tensor),
    ("torch._utils", "_rebuild_parameter"): _Constructor(_parameter),
    **{("torch", name): _StorageType(dtype) for name, dtype in STORAGE_DTYPES.items()},
}


class _TensorUnpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO):
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, Storage] = {}

    def find_class(self, module_name: str, global_name: str) -> Any:
        try:
            return _GLOBALS[module_name, global_name]
        except KeyError:
            raise WeightsError(
                f"expected tensors and plain containers only, got {module_name}.{global_name}, "
                "which was not executed: save the network's state_dict() alone"
            ) from None

    def persistent_load(self, pid: Any) -> Storage:
        match pid:
            case ("storage", _StorageType(dtype), str(key), str(), int(size), *rest) if size >= 0:
                # Old files may name a part of another storage; no writer of the last years does.
                if any(view is not None for view in rest):
                    raise WeightsError("expected whole storages, got a view of one")
                storage = Storage(dtype, key, size)
                if self.storages.setdefault(key, storage) != storage:
                    raise WeightsError(f"storage {key!r} is described in two ways")
                return storage
        raise WeightsError(f"expected a tensor's storage, got the reference {reprlib.repr(pid)}")


def _check_memo(file: io.BytesIO) -> None:
    """Raises for a memo with gaps: Python allocates as much as the largest index says."""
    start = file.tell()
    for count, (opcode, index, _) in enumerate(pickletools.genops(file)):
        if "PUT" in opcode.name and (not isinstance(index, int) or index > count):
            raise WeightsError(f"damaged: opcode {count} fills place {index} of the memo")
    file.seek(start)


def load(file: io.BytesIO) -> tuple[Any, dict[str, Storage]]:
    """The next pickle of `file`, its tensors as descriptions.

    Args:
      file: open for reading, at the start of a pickle; left just behind it.

    Returns:
      The content (dict, list, tuple, numbers, strings and `Tensor`) and, by key, every storage
      that it refers to.

    Raises:
      WeightsError: any other object (the message names it; nothing is executed), or damage.

    >>> import io, os, pickle
    >>> load(io.BytesIO(pickle.dumps({"epoch": 3, "best": [0.5]})))
    ({'epoch': 3, 'best': [0.5]}, {})
    >>> load(io.BytesIO(pickle.dumps(os.getcwd)))
    Traceback (most recent call last):
    ...
    signsal_jax.weights.errors.WeightsError: expected tensors and plain containers only, got \
posix.getcwd, which was not executed: save the network's state_dict() alone
    """
    try:
        _check_memo(file)
        unpickler = _TensorUnpickler(file)
        content = unpickler.load()
    except WeightsError:
        raise
    except Exception as error:
        # A damaged pickle can fail in any way an opcode can.
        raise WeightsError(f"truncated or damaged ({type(error).__name__}: {error})") from error
    return content, unpickler.storages
