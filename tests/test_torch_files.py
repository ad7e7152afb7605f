"""Torch files without torch: both formats, written here byte by byte as torch writes them."""

import collections
import io
import os
import pickle
import struct
import zipfile
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from signsal_jax import weights
from signsal_jax.weights import WeightsError

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


class _Call:
    def __init__(self, function: Global, *arguments: Any):
        self.function, self.arguments = function, arguments


class _Writer(pickle._Pickler):  # pyright: ignore
    """Writes `View`, `_Call` and `Global` as the opcodes torch's own pickles have."""

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
            hooks = _Call(Global("collections", "OrderedDict"))
            rebuild = Global("torch._utils", "_rebuild_tensor_v2")
            self.save(_Call(rebuild, *obj, False, hooks))
        elif isinstance(obj, _Call):
            self.save(obj.function)
            self.save(obj.arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(obj, save_persistent_id)


def zip_file(content: Any, *, byte_order: str = "little", drop: str = "") -> bytes:
    pickled, storages, file = io.BytesIO(), {}, io.BytesIO()
    _Writer(pickled, storages, stream=False).dump(content)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickled.getvalue())
        archive.writestr("archive/byteorder", byte_order)
        for key, storage in storages.items():
            swap = ">" if byte_order == "big" else "<"
            if key != drop:
                data = storage.astype(storage.dtype.newbyteorder(swap)).tobytes()
                archive.writestr(f"archive/data/{key}", data)
        archive.writestr("archive/version", "3\n")
    return file.getvalue()


def stream_file(content: Any) -> bytes:
    pickled, storages = io.BytesIO(), {}
    _Writer(pickled, storages, stream=True).dump(content)
    parts = [
        pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2),
        pickle.dumps(1001, protocol=2),
        pickle.dumps({"protocol_version": 1001, "little_endian": True}, protocol=2),
        pickled.getvalue(),
        pickle.dumps(sorted(storages), protocol=2),
    ]
    for key in sorted(storages):
        parts += [struct.pack("<q", storages[key].size), storages[key].tobytes()]
    return b"".join(parts)


FORMATS = pytest.mark.parametrize("write", [zip_file, stream_file])


@pytest.fixture
def read(tmp_path):
    def read(data: bytes) -> dict[str, np.ndarray]:
        path = tmp_path / "weights.pth"
        path.write_bytes(data)
        return weights.read(path).arrays

    return read


@FORMATS
@pytest.mark.parametrize("dtype", STORAGE_NAMES, ids=str)
def test_every_dtype(read, write, dtype):
    array = np.arange(6).reshape(2, 3).astype(dtype)
    (got,) = read(write({"a": whole(array)})).values()
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, array)


@FORMATS
def test_views_share_a_storage(read, write):
    storage = np.arange(24, dtype=np.float32)
    tensors = {
        "offset": View(storage, 20, (4,), (1,)),
        "transposed": View(storage, 0, (4, 6), (1, 4)),
        "strided": View(storage, 1, (2, 3), (12, 2)),
        "expanded": View(storage, 7, (2, 2), (0, 0)),
        "scalar": View(storage, 23, (), ()),
        "empty": View(storage, 0, (0, 3), (3, 1)),
    }
    got = read(write(tensors))
    np.testing.assert_array_equal(got["offset"], storage[20:])
    np.testing.assert_array_equal(got["transposed"], storage.reshape(6, 4).T)
    np.testing.assert_array_equal(got["strided"], [[1, 3, 5], [13, 15, 17]])
    np.testing.assert_array_equal(got["expanded"], np.full((2, 2), 7))
    assert got["scalar"] == 23
    assert got["empty"].shape == (0, 3)


def test_byte_order(read):
    array = np.arange(4, dtype=np.float32)
    np.testing.assert_array_equal(read(zip_file({"a": whole(array)}, byte_order="big"))["a"], array)


@FORMATS
@pytest.mark.parametrize("under", ["state_dict", "model_state_dict", "model", "net"])
def test_nested_weights_and_data_parallel(read, write, under):
    ordered = _Call(Global("collections", "OrderedDict"), [["module.fc.bias", whole(np.ones(2))]])
    assert list(read(write({under: ordered, "best_prec1": 91.7, "epoch": 3}))) == ["fc.bias"]


def test_parameters(read):
    parameter = _Call(Global("torch._utils", "_rebuild_parameter"), whole(np.ones(2)), True, {})
    np.testing.assert_array_equal(read(zip_file({"a": parameter}))["a"], np.ones(2))


def test_the_prefix_of_some_names_stays(read):
    content = {"module.a": whole(np.ones(1)), "b": whole(np.ones(1))}
    assert list(read(zip_file(content))) == ["module.a", "b"]


CODE = {
    "os.system": _Call(Global("os", "system"), "touch executed"),
    "builtins.eval": _Call(Global("builtins", "eval"), "open('executed', 'w')"),
    "builtins.getattr": _Call(Global("builtins", "getattr"), {}, "clear"),
    "torch.load": _Call(Global("torch", "load"), "executed"),
    "torchvision.models.resnet.ResNet": Global("torchvision.models.resnet", "ResNet"),
    "numpy.core.multiarray.scalar": Global("numpy.core.multiarray", "scalar"),
    "collections.OrderedDict.clear": Global("collections", "OrderedDict.clear"),
    "signsal_jax.weights.pickles.load": Global("signsal_jax.weights.pickles", "load"),
}


@FORMATS
@pytest.mark.parametrize("name", CODE)
def test_code_is_named_and_not_executed(read, write, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=name.replace(".", r"\.")):
        read(write({"state_dict": {"a": whole(np.ones(2))}, "hook": CODE[name]}))
    assert os.listdir(tmp_path) == ["weights.pth"]


def test_real_pickled_code_is_not_executed(read, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    class Attack:
        def __reduce__(self):
            return os.mkdir, ("executed",)

    with pytest.raises(WeightsError, match=r"posix\.mkdir|nt\.mkdir"):
        read(pickle.dumps(Attack()))
    assert os.listdir(tmp_path) == ["weights.pth"]


def test_names_that_are_known_cannot_be_changed(read):
    # BUILD with a pair sets attributes on whatever lies on the stack, here the constructor.
    for known in (b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n"):
        data = io.BytesIO()
        attack = b"\x80\x02" + known + b"(N}X\x08\x00\x00\x00functionK\x01stb."
        with zipfile.ZipFile(data, "w") as archive:
            archive.writestr("archive/data.pkl", attack)
        with pytest.raises(WeightsError, match="AttributeError"):
            read(data.getvalue())
    np.testing.assert_array_equal(read(zip_file({"a": whole(np.ones(2))}))["a"], np.ones(2))


@FORMATS
@pytest.mark.parametrize(
    "view",
    [
        View(np.ones(4), 0, (5,), (1,)),
        View(np.ones(4), 3, (2,), (1,)),
        View(np.ones(4), -1, (1,), (1,)),
        View(np.ones(4), 0, (2, 2), (3, 1)),
        View(np.ones(4), 0, (-1,), (1,)),
        View(np.ones(4), 3, (2,), (-1,)),
        View(np.ones(4), 0, (2,), ()),
        View(np.ones(4), 0, (2**70,), (0,)),
        View(np.ones(4), 0, (10**8, 4), (0, 1)),
    ],
)
def test_views_beyond_their_storage(read, write, view):
    with pytest.raises(WeightsError, match=r"tensor|damaged"):
        read(write({"a": view}))


@FORMATS
def test_a_view_may_repeat_numbers(read, write):
    # Such as a stem for gray images, shown to three channels.
    view = View(np.arange(4.0), 0, (2, 3, 2), (2, 0, 1))
    expected = np.repeat(np.arange(4.0).reshape(2, 1, 2), 3, axis=1)
    np.testing.assert_array_equal(read(write({"a": view}))["a"], expected)


@FORMATS
def test_every_truncation_is_an_error(read, write):
    data = write({"a": whole(np.arange(50.0)), "b": whole(np.arange(3.0))})
    for size in range(0, len(data), 7):
        with pytest.raises(WeightsError):
            read(data[:size])


@FORMATS
def test_damage_anywhere_is_an_error_or_other_numbers(read, write):
    whole_file = write({"state_dict": {"a": whole(np.arange(12.0)), "b": whole(np.ones(3))}})
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        data = bytearray(whole_file)
        place = int(generator.integers(len(data)))
        # One byte changed, lost or doubled.
        data[place : place + 1] = generator.bytes(int(generator.integers(3)))
        try:
            read(bytes(data))
        except WeightsError:
            refused += 1
    assert refused > 100


def test_an_encrypted_zip(read):
    data = bytearray(zip_file({"a": whole(np.ones(2))}))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(WeightsError, match=r"truncated or damaged zip .*encrypted"):
        read(bytes(data))


def test_a_byte_order_that_there_is_not(read):
    with pytest.raises(WeightsError, match=r"byte order little or big, got b'little\\n'"):
        read(zip_file({"a": whole(np.ones(2))}, byte_order="little\n"))


def test_a_memo_with_gaps_allocates_nothing(read):
    # Python's reader would make room for as many objects as the index says.
    pickled = b"\x80\x02}r" + struct.pack("<I", 2**30) + b"."
    with pytest.raises(WeightsError, match="opcode 2 fills place 1073741824 of the memo"):
        read(pickled)


def test_truncated_storage_and_missing_member(read):
    data = stream_file({"layer.weight": whole(np.arange(50.0))})
    with pytest.raises(
        WeightsError, match=r"layer\.weight: truncated: expected 400 bytes, got 399"
    ):
        read(data[:-1])
    with pytest.raises(WeightsError, match="data/0 is not in the zip"):
        read(zip_file({"a": whole(np.ones(2))}, drop="0"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty file"),
        (b"\n<!DOCTYPE html><html>Not found</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "Git LFS pointer"),
        (b"hello world, no weights", "begins with b'hello world"),
        (pickle.dumps({"a": 1}), "another pickle"),
        (stream_file([1, 2]), "expected named tensors, got a list"),
        (zip_file({}), "expected named tensors, got a dict"),
        (zip_file(whole(np.ones(2))), "got a single tensor"),
        (zip_file({"a": whole(np.ones(2)), "lr": 0.1}), r"got also 'lr' \(a float\)"),
        (zip_file({3: whole(np.ones(2))}), "named by strings"),
        (zip_file({"model": {}, "net": {}}), "one set of weights, got model, net"),
    ],
)
def test_files_that_are_no_weights(read, data, message):
    with pytest.raises(WeightsError, match=message):
        read(data)


def test_zip_of_something_else(read):
    for compression, message in (
        (zipfile.ZIP_STORED, "without data.pkl"),
        (zipfile.ZIP_DEFLATED, "compressed"),
    ):
        name = "x.npy" if compression == zipfile.ZIP_STORED else "archive/data.pkl"
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w", compression) as archive:
            archive.writestr(name, bytes(100))
        with pytest.raises(WeightsError, match=message):
            read(data.getvalue())


def test_safetensors(tmp_path, read):
    arrays = {"a": np.arange(6, dtype=np.float16).reshape(2, 3), "b": np.ones(2, BFLOAT16)}
    data = safetensors.numpy.save(arrays)
    got = read(data)
    assert {k: v.dtype for k, v in got.items()} == {k: v.dtype for k, v in arrays.items()}
    np.testing.assert_array_equal(got["a"], arrays["a"])
    # A header as long as "<" in ASCII is none of a web page.
    padded = data[:8] + data[8:].replace(b"}}", b"}}" + b" " * (60 - data[0] % 256 + 256), 1)
    padded = (
        struct.pack("<Q", struct.unpack("<Q", data[:8])[0] + len(padded) - len(data)) + padded[8:]
    )
    assert padded[:1] == b"<"
    np.testing.assert_array_equal(read(padded)["a"], arrays["a"])
    for size in (9, 40, len(data) - 1):
        with pytest.raises(WeightsError, match="truncated"):
            read(data[:size])


def test_checksum_and_missing_file(tmp_path):
    path = tmp_path / "w"
    path.write_bytes(zip_file({"a": whole(np.ones(2))}))
    assert weights.read(path).sha256 == weights.sha256(path)
    assert weights.read(path).source == str(path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        weights.read(tmp_path / "nowhere.pth")


def test_what_torch_itself_writes(tmp_path):
    torch = pytest.importorskip("torch", reason="needs torch (extra bench)")
    base = torch.arange(24.0).reshape(4, 6)
    state = collections.OrderedDict(
        a=base.t(),
        b=base[1:, 2:],
        c=torch.nn.Parameter(base[0]),
        d=base.to(torch.bfloat16),
        e=torch.tensor(7),
        f=base > 3,
        g=base.half()[::2],
    )
    for modern in (True, False):
        path = tmp_path / "torch.pth"
        torch.save(state, path, _use_new_zipfile_serialization=modern)
        for name, array in weights.read(path).arrays.items():
            tensor = state[name].detach()
            expected = tensor.float().numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()
            np.testing.assert_array_equal(array.astype(expected.dtype), expected)
