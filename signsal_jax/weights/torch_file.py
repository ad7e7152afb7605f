"""Torch's two file formats, read without torch."""

import contextlib
import io
import math
import pickle
import reprlib
import struct
import zipfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from signsal_jax.weights import pickles
from signsal_jax.weights.errors import WeightsError

_STREAM_MAGIC = 0x1950A86A20F9469CFC6C
_STREAM_PROTOCOL = 1001
_NESTED_UNDER = ("state_dict", "model_state_dict", "model", "net")
_PARALLEL_PREFIX = "module."
# A view may show numbers many times over, but a small file must not become a large network.
_MOST_REPEATED = 2**24


class _TorchFile(NamedTuple):
    content: Any
    storage_bytes: Callable[[str], bytes]
    byte_order: str


def parse(data: bytes) -> dict[str, np.ndarray]:
    """The named tensors of a torch file, in the zip format or the older stream.

    Weights that a checkpoint nests under "state_dict", "model_state_dict", "model" or "net" are
    found there, and the "module." that torch's DataParallel puts before every name is removed.

    Args:
      data: the content of a `.pth`, `.pt`, `.th` or `.bin` file.

    Returns:
      Read-only arrays by name, with the file's own dtypes and shapes.

    Raises:
      WeightsError: not a torch file, truncated, without named tensors, or with anything in it
        other than tensors and plain containers (named in the message, never executed).

    >>> parse(b"hello")
    Traceback (most recent call last):
    ...
    signsal_jax.weights.errors.WeightsError: expected a torch file, got something that begins \
with b'hello'
    """
    file = _read_zip(data) if data[:2] == b"PK" else _read_stream(data)
    tensors = _state_dict(file.content)
    return {name: _view(name, tensor, file) for name, tensor in tensors.items()}


@contextlib.contextmanager
def _damage_named() -> Iterator[None]:
    """Turns what zipfile raises for damaged, encrypted and unknown archives into one error."""
    try:
        yield
    except (
        zipfile.BadZipFile,
        EOFError,
        OverflowError,
        RuntimeError,
        ValueError,
        struct.error,
    ) as error:
        raise WeightsError(f"truncated or damaged zip ({error})") from error


def _read_zip(data: bytes) -> _TorchFile:
    with _damage_named():
        archive = zipfile.ZipFile(io.BytesIO(data))
    names = archive.namelist()
    prefixes = [name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl")]
    if len(prefixes) != 1:
        raise WeightsError("expected a torch file, got a zip without data.pkl")
    if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
        # Torch never compresses; a small file that unpacks to gigabytes is no accident.
        raise WeightsError("expected a torch file, got a compressed zip")

    def member(name: str) -> bytes:
        if prefixes[0] + name not in names:
            raise WeightsError(f"damaged: {name} is not in the zip")
        with _damage_named():
            return archive.read(prefixes[0] + name)

    content, _ = pickles.load(io.BytesIO(member("data.pkl")))
    # Files from before torch 2.1 do not say, and were written on little-endian machines.
    order = member("byteorder") if f"{prefixes[0]}byteorder" in names else b"little"
    if order not in (b"little", b"big"):
        raise WeightsError(f"damaged: expected the byte order little or big, got {order[:16]!r}")
    return _TorchFile(content, lambda key: member(f"data/{key}"), order.decode())


def _read_stream(data: bytes) -> _TorchFile:
    file = io.BytesIO(data)
    if data[:1] != pickle.PROTO:
        raise WeightsError(f"expected a torch file, got something that begins with {data[:16]!r}")
    magic, _ = pickles.load(file)
    if magic != _STREAM_MAGIC:
        raise WeightsError("expected a torch file, got another pickle")
    protocol, _ = pickles.load(file)
    if protocol != _STREAM_PROTOCOL:
        raise WeightsError(
            f"expected torch's protocol {_STREAM_PROTOCOL}, got {reprlib.repr(protocol)}"
        )
    pickles.load(file)  # what machine wrote it
    content, described = pickles.load(file)
    keys, _ = pickles.load(file)
    named = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not named or set(keys) != described.keys():
        raise WeightsError("damaged: the stream's storages are not those of its tensors")
    storages = {}
    # Torch writes streams little-endian on every machine.
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        if count != described[key].size:
            raise WeightsError(f"truncated or damaged: storage {key!r} has no valid size")
        storages[key] = file.read(count * described[key].dtype.itemsize)
    return _TorchFile(content, storages.__getitem__, "little")


def _state_dict(content: Any) -> dict[str, pickles.Tensor]:
    """The one mapping of names to tensors in what a checkpoint holds."""
    if isinstance(content, dict):
        nested = [k for k in _NESTED_UNDER if isinstance(content.get(k), dict)]
        if len(nested) > 1:
            raise WeightsError(f"expected one set of weights, got {', '.join(nested)}")
        if nested:
            content = content[nested[0]]
    if not isinstance(content, dict) or not content:
        raise WeightsError(f"expected named tensors, got {_describe(content)}")
    other = {k: v for k, v in content.items() if not isinstance(v, pickles.Tensor)}
    if other:
        listed = ", ".join(f"{reprlib.repr(k)} ({_describe(v)})" for k, v in other.items())
        raise WeightsError(f"expected named tensors only, got also {listed}")
    if not all(isinstance(key, str) for key in content):
        raise WeightsError("expected tensors named by strings")
    if all(key.startswith(_PARALLEL_PREFIX) for key in content):
        content = {key.removeprefix(_PARALLEL_PREFIX): value for key, value in content.items()}
    return content


def _describe(value: Any) -> str:
    return "a single tensor" if isinstance(value, pickles.Tensor) else f"a {type(value).__name__}"


def _view(name: str, tensor: pickles.Tensor, file: _TorchFile) -> np.ndarray:
    storage, offset, shape, strides = tensor
    dtype = storage.dtype if file.byte_order == "little" else storage.dtype.newbyteorder(">")
    data = file.storage_bytes(storage.key)
    if len(data) != storage.size * dtype.itemsize:
        expected = storage.size * dtype.itemsize
        raise WeightsError(f"{name}: truncated: expected {expected} bytes, got {len(data)}")
    steps = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if 0 not in shape and offset + steps >= storage.size:
        raise WeightsError(f"{name}: the tensor reaches beyond its storage")
    if math.prod(shape) > max(storage.size, _MOST_REPEATED):
        raise WeightsError(f"{name}: the tensor of shape {shape} repeats a smaller storage")
    flat = np.frombuffer(data, dtype)[offset:]
    byte_strides = tuple(stride * dtype.itemsize for stride in strides)
    try:
        return np.lib.stride_tricks.as_strided(flat, shape, byte_strides, writeable=False)
    except (OverflowError, ValueError) as error:
        raise WeightsError(f"{name}: damaged: shape {shape}, strides {strides}") from error
