"""Torch files without torch: both formats, and safetensors."""

import collections
import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from signsal_jax import weights
from signsal_jax.weights import WeightsError
from tests.torch_writer import (
    BFLOAT16,
    STORAGE_NAMES,
    Call,
    Global,
    View,
    stream_file,
    whole,
    zip_file,
)

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
def test_nested_weights(read, write, under):
    ordered = Call(Global("collections", "OrderedDict"), [["fc.bias", whole(np.ones(2))]])
    assert list(read(write({under: ordered, "best_prec1": 91.7, "epoch": 3}))) == ["fc.bias"]


def test_parameters(read):
    parameter = Call(Global("torch._utils", "_rebuild_parameter"), whole(np.ones(2)), True, {})
    np.testing.assert_array_equal(read(zip_file({"a": parameter}))["a"], np.ones(2))


CODE = {
    "os.system": Call(Global("os", "system"), "touch executed"),
    "builtins.eval": Call(Global("builtins", "eval"), "open('executed', 'w')"),
    "builtins.getattr": Call(Global("builtins", "getattr"), {}, "clear"),
    "torch.load": Call(Global("torch", "load"), "executed"),
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
        with pytest.raises(WeightsError, match=r"expected a dict, got a (Constructor|StorageType)"):
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
    with pytest.raises(WeightsError, match="got another pickle"):
        read(b"\x80\x02}r" + struct.pack("<I", 2**30) + b".")


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
        (zip_file({"a": whole(np.ones(2)), "lr": 0.1}), r"got also lr \(a float\)"),
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


def test_a_small_attack(tmp_path):
    """The whole one is `python -m tests.attack_weights`; here a process may use up its memory."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the most memory of a process is read from /proc")
    done = subprocess.run(
        [sys.executable, "-m", "tests.attack_weights", "--mutations", "150", "--quick"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "150 mutated files" in done.stdout
    assert "; 0 raw errors, 0 executed, " in done.stdout


@FORMATS
def test_tensors_of_one_storage_share_its_memory(read, write):
    storage = np.arange(1000.0)
    first, second = read(
        write({"a": View(storage, 0, (1000,), (1,)), "b": View(storage, 5, (9,), (1,))})
    ).values()
    assert np.shares_memory(first, second)


@FORMATS
@pytest.mark.parametrize("key", [(), (1, (2, 3)), 0.5, None, True], ids=repr)
def test_keys_are_strings_and_integers(read, write, key):
    with pytest.raises(WeightsError, match="expected strings or integers as dictionary keys, got"):
        read(write({"a": whole(np.ones(1)), "others": {key: 1}}))
    assert list(read(write({"net": {"a": whole(np.ones(1))}, "others": {3: 1}}))) == ["a"]


@FORMATS
def test_names_are_printed_without_control_characters(read, write):
    with pytest.raises(WeightsError) as raised:
        read(write({"a\x1b[2J\u202e\nb": 3, "c": whole(np.ones(1))}))
    assert r"a\x1b[2J\u202e\nb (a int)" in str(raised.value)
    assert str(raised.value).split(": ")[-1].isprintable()


def test_what_is_not_a_file_is_refused_without_reading(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", "/dev/null"):
        with pytest.raises(WeightsError, match="expected a file, got a folder, a pipe or a device"):
            weights.read(path)
    with pytest.raises(IsADirectoryError):
        weights.read(tmp_path)
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        file.write(b"PK\x03\x04")
        file.truncate(2**40)
    with pytest.raises(WeightsError, match=r"1099511627776 bytes of which only \d+ are stored"):
        weights.read(sparse)
