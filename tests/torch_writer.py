"""Torch's two file formats, written byte by byte, with any content."""

import io
import pickle
import struct
import zipfile
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

BFLOAT16 = np.dtype(jnp.bfloat16)
STORAGE_NAMES = {
    np.dtype(np.float32): "FloatStorage",
    np.dtype(np.float64): "DoubleStorage",
    np.dtype(np.float16): "HalfStorage",
    BFLOAT16: "BFloat16Storage",
    np.dtype(np.int64): "LongStorage",
    np.dtype(np.uint8): "ByteStorage",
    np.dtype(np.bool_): "BoolStorage",
}


class Global(NamedTuple):
    """A name that a pickle refers to."""

    module: str
    name: str


class View(NamedTuple):
    """A tensor as torch writes one: a strided view of a flat storage."""

    storage: np.ndarray
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def whole(array: np.ndarray) -> View:
    strides = tuple(s // array.itemsize for s in np.ascontiguousarray(array).strides)
    return View(array.ravel(), 0, array.shape, strides)


class Call:
    def __init__(self, function: Global, *arguments: Any):
        self.function, self.arguments = function, arguments


class _Writer(pickle._Pickler):  # pyright: ignore
    """Writes `View`, `Call` and `Global` as the opcodes torch's own pickles have."""

    def __init__(self, file: io.BytesIO, storages: dict[str, np.ndarray], stream: bool):
        super().__init__(file, protocol=2)
        self.storages, self.stream, self.keys = storages, stream, {}

    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, np.ndarray):
            return None
        key = self.keys.setdefault(id(obj), str(len(self.keys)))
        self.storages[key] = obj
        kind = Global("torch", STORAGE_NAMES[obj.dtype])
        reference = ("storage", kind, key, "cpu", obj.size)
        return (*reference, None) if self.stream else reference

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, Global):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, View):
            hooks = Call(Global("collections", "OrderedDict"))
            rebuild = Global("torch._utils", "_rebuild_tensor_v2")
            self.save(Call(rebuild, *obj, False, hooks))
        elif isinstance(obj, Call):
            self.save(obj.function)
            self.save(obj.arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(obj, save_persistent_id)


def pickled(content: Any, storages: dict[str, np.ndarray], *, stream: bool = False) -> bytes:
    """The content as a pickle; fills in the storages that it refers to."""
    file = io.BytesIO()
    _Writer(file, storages, stream).dump(content)
    return file.getvalue()


def zip_file(content: Any, *, byte_order: str = "little", drop: str = "") -> bytes:
    """In the format of today; bytes are taken as a pickle that is already written."""
    storages, file = {}, io.BytesIO()
    data = content if isinstance(content, bytes) else pickled(content, storages)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/byteorder", byte_order)
        for key, storage in storages.items():
            swap = ">" if byte_order == "big" else "<"
            if key != drop:
                data = storage.astype(storage.dtype.newbyteorder(swap)).tobytes()
                archive.writestr(f"archive/data/{key}", data)
        archive.writestr("archive/version", "3\n")
    return file.getvalue()


def stream_file(content: Any) -> bytes:
    """In the format from before torch 1.6; bytes are taken as for `zip_file`."""
    storages: dict[str, np.ndarray] = {}
    data = content if isinstance(content, bytes) else pickled(content, storages, stream=True)
    parts = [
        pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2),
        pickle.dumps(1001, protocol=2),
        pickle.dumps({"protocol_version": 1001, "little_endian": True}, protocol=2),
        data,
        pickle.dumps(sorted(storages), protocol=2),
    ]
    for key in sorted(storages):
        parts += [struct.pack("<q", storages[key].size), storages[key].tobytes()]
    return b"".join(parts)
