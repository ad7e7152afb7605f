"""Reading of torch's two file formats, without torch."""

import io
import math
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from signsal_jax.weights import pickles
from signsal_jax.weights.errors import WeightsError, listed, printable
from signsal_jax.weights.torch_objects import Tensor, describe

_ZIP = b"PK"
_STREAM_MAGIC = 0x1950A86A20F9469CFC6C
_STREAM_PROTOCOL = 1001
_NESTED_UNDER = ("state_dict", "model_state_dict", "model", "net")
# A view may repeat its elements, but a small file must not become a large network.
_MOST_REPEATED = 2**24
# Bytes of a zip's directory; the Python objects made from it are ten times as large.
_MOST_DIRECTORY = 2**22
_LOCAL_HEADER = struct.Struct("<4s22xHH")


class _TorchFile(NamedTuple):
    content: Any
    storage_bytes: Callable[[str], memoryview]
    byte_order: str


def parse(data: bytes) -> dict[str, np.ndarray]:
    """Reads the named tensors of a torch file, in the zip format or the older stream format.

    Weights that a checkpoint nests under "state_dict", "model_state_dict", "model" or "net" are
    found there.

    Args:
      data: the content of a `.pth`, `.pt`, `.th` or `.bin` file.

    Returns:
      Arrays by name, with the file's own dtypes and shapes: read-only views of `data`.

    Raises:
      WeightsError: not a torch file, truncated, without named tensors, or with anything in it
        other than tensors and plain containers (named in the message, never executed).

    >>> parse(b"hello")
    Traceback (most recent call last):
    ...
    signsal_jax.weights.errors.WeightsError: expected a torch file, got something that begins \
with b'hello'
    """
    check_head(data[:16])
    file = _read_zip(data) if data.startswith(_ZIP) else _read_stream(data)
    tensors = _state_dict(file.content)
    return {name: _view(name, tensor, file) for name, tensor in tensors.items()}


def check_head(head: bytes) -> None:
    """Raises unless a torch file can begin with these bytes."""
    if not head.startswith((_ZIP, pickle.PROTO)):
        raise WeightsError(f"expected a torch file, got something that begins with {head[:16]!r}")


class _Zip(io.BytesIO):
    """The file as zipfile reads it; refuses a directory larger than any in a torch file."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MOST_DIRECTORY:
            raise WeightsError(f"expected a zip directory of at most {_MOST_DIRECTORY} bytes")
        return super().read(size)


def _read_zip(data: bytes) -> _TorchFile:
    try:
        members = {info.filename: info for info in zipfile.ZipFile(_Zip(data)).infolist()}
    except WeightsError:
        raise
    except Exception as error:  # zipfile raises many kinds of errors for damaged archives
        raise WeightsError(f"truncated or damaged zip ({printable(error)})") from error
    prefixes = [name.removesuffix("data.pkl") for name in members if name.endswith("/data.pkl")]
    if len(prefixes) != 1:
        raise WeightsError("expected a torch file, got a zip without data.pkl")
    if any(info.compress_type != zipfile.ZIP_STORED for info in members.values()):
        # Torch never compresses; a small file that unpacks to gigabytes is an attack.
        raise WeightsError("expected a torch file, got a compressed zip")

    def member(name: str) -> memoryview:
        info = members.get(prefixes[0] + name)
        if info is None:
            raise WeightsError(f"damaged: {printable(name)} is not in the zip")
        return _member(data, info)

    content, storages, _ = pickles.load(member("data.pkl"))
    # Files from before torch 2.1 do not record it and come from little-endian machines.
    order = bytes(member("byteorder")[:16]) if f"{prefixes[0]}byteorder" in members else b"little"
    if order not in (b"little", b"big"):
        raise WeightsError(f"damaged: expected the byte order little or big, got {order!r}")
    # Read once each, however many tensors share one.
    contents = {key: member(f"data/{key}") for key in storages}
    if sum(map(len, contents.values())) > len(data):
        raise WeightsError("damaged: the members of the zip overlap")
    return _TorchFile(content, contents.__getitem__, order.decode())


def _member(data: bytes, info: zipfile.ZipInfo) -> memoryview:
    """A stored member's bytes, without a copy."""
    if info.flag_bits & 1:
        raise WeightsError("truncated or damaged zip (a member is encrypted)")
    start = info.header_offset
    if not 0 <= start <= len(data) - _LOCAL_HEADER.size:
        raise WeightsError("truncated or damaged zip (a member lies outside the file)")
    signature, name_size, extra_size = _LOCAL_HEADER.unpack_from(data, start)
    start += _LOCAL_HEADER.size + name_size + extra_size
    content = memoryview(data)[start : start + info.file_size]
    if signature != b"PK\x03\x04" or len(content) != info.file_size:
        raise WeightsError("truncated or damaged zip (a member is not where it should be)")
    if zlib.crc32(content) != info.CRC:
        raise WeightsError("truncated or damaged zip (a member's checksum does not match)")
    return content


def _read_stream(data: bytes) -> _TorchFile:
    view = memoryview(data)
    magic, _, place = pickles.load(view)
    if magic != _STREAM_MAGIC:
        raise WeightsError("expected a torch file, got another pickle")
    protocol, _, place = pickles.load(view, place)
    if protocol != _STREAM_PROTOCOL:
        raise WeightsError(f"expected torch's protocol {_STREAM_PROTOCOL}, got another")
    _, _, place = pickles.load(view, place)  # the machine that wrote it
    content, described, place = pickles.load(view, place)
    keys, _, place = pickles.load(view, place)
    named = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not named or len(keys) != len(described) or set(keys) != described.keys():
        raise WeightsError("damaged: the stream's storages are not those of its tensors")
    storages = {}
    # Torch writes streams little-endian on every machine.
    for key in keys:
        count = int.from_bytes(view[place : place + 8], "little")
        if count != described[key].size:
            raise WeightsError(f"truncated or damaged: storage {printable(key)} has no valid size")
        place += 8
        storages[key] = view[place : place + count * described[key].dtype.itemsize]
        place += len(storages[key])
    return _TorchFile(content, storages.__getitem__, "little")


def _state_dict(content: Any) -> dict[str, Tensor]:
    """Finds the one mapping from names to tensors in a checkpoint's content."""
    if isinstance(content, dict):
        nested = [k for k in _NESTED_UNDER if isinstance(content.get(k), dict)]
        if len(nested) > 1:
            raise WeightsError(f"expected one set of weights, got {', '.join(nested)}")
        if nested:
            content = content[nested[0]]
    if not isinstance(content, dict) or not content:
        raise WeightsError(f"expected named tensors, got {describe(content)}")
    other = [
        f"{printable(key)} ({describe(value)})"
        for key, value in content.items()
        if not isinstance(value, Tensor)
    ]
    if other:
        raise WeightsError(f"expected named tensors only, got also {listed(other, 10)}")
    if not all(isinstance(key, str) for key in content):
        raise WeightsError("expected tensors named by strings")
    return content


def _view(name: str, tensor: Tensor, file: _TorchFile) -> np.ndarray:
    storage, offset, shape, strides = tensor
    dtype = storage.dtype if file.byte_order == "little" else storage.dtype.newbyteorder(">")
    data = file.storage_bytes(storage.key)
    if len(data) != storage.size * dtype.itemsize:
        expected = storage.size * dtype.itemsize
        raise WeightsError(
            f"{printable(name)}: truncated: expected {expected} bytes, got {len(data)}"
        )
    steps = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if 0 not in shape and offset + steps >= storage.size:
        raise WeightsError(f"{printable(name)}: the tensor reaches beyond its storage")
    if math.prod(shape) > max(storage.size, _MOST_REPEATED):
        raise WeightsError(
            f"{printable(name)}: the tensor of shape {shape} repeats a smaller storage"
        )
    try:
        if 0 in shape:
            return np.empty(shape, dtype)
        byte_strides = tuple(stride * dtype.itemsize for stride in strides)
        return np.ndarray(shape, dtype, data, offset * dtype.itemsize, byte_strides)
    except (OverflowError, ValueError) as error:
        raise WeightsError(
            f"{printable(name)}: damaged: shape {shape}, strides {strides}"
        ) from error
