"""Reading of TFDS image classification sets by random access, without TensorFlow."""

import contextlib
import logging
import os
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from signsal_jax._extras import extra
from signsal_jax.data import fingerprint
from signsal_jax.data.dataset import Dataset, resize
from signsal_jax.data.digits import MNIST5K

# The size that the paper uses for a set whose images come in many sizes.
_IMAGE_SIZES = {"imagenette": (224, 224)}
# If a set has only one of the two, it stands in for the other.
_TEST_SPLITS = ("test", "validation")


class NotPreparedError(FileNotFoundError):
    """The data set is not on this machine; the message says how to get it."""


class _Decoded:
    """A TFDS random-access source, decoded and resized on access."""

    def __init__(self, source: Any, shape: tuple[int, int, int], shards: Sequence[Path]):
        self.source, self.shape, self.shards = source, shape, shards

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        element = self.source[index]
        return resize(element["image"], self.shape[:2]), int(element["label"])

    def fingerprint(self) -> dict[str, Any]:
        return fingerprint.of_files(self.shards)


def default_data_dir() -> Path:
    """TFDS's own default folder: $TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    return Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()


@contextlib.contextmanager
def _tidy_tfds() -> Iterator[None]:
    """Keeps TFDS from littering the log and the disk.

    TFDS warns whenever it looks for a missing folder, and recommends OpenCV although PIL suffices.
    For each set that is not prepared it leaves a temporary folder behind.
    """
    logger = logging.getLogger("absl")
    level, folder = logger.level, tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="signsal-") as temporary:
        logger.setLevel(logging.ERROR)
        tempfile.tempdir = temporary
        try:
            yield
        finally:
            logger.setLevel(level)
            tempfile.tempdir = folder


def _builder(name: str, data_dir: Path) -> Any:
    tfds = extra("tensorflow_datasets", "data")
    try:
        builder = tfds.builder(name, data_dir=str(data_dir))
    except (ValueError, AssertionError) as error:  # TFDS asserts that the version exists
        unknown = isinstance(error, tfds.core.registered.DatasetNotFoundError)
        reason = (
            f"{data_dir} holds no prepared set of that name"
            if unknown
            else str(error).strip().splitlines()[0]
        )
        raise ValueError(
            f"data set: expected {MNIST5K}, cifar10, imagenette or another TFDS name (they are "
            f"listed by  python -c 'import tensorflow_datasets as t; print(t.list_builders())'), "
            f"got {name!r}: {reason}"
        ) from error
    if not builder.is_prepared():
        raise NotPreparedError(
            f"data set {name}: not prepared in {data_dir} (looked for {builder.data_path}). "
            f"Prepare it with  signsal prepare {name} --data-dir {shlex.quote(str(data_dir))}  "
            "(extra `prepare`), or name another folder with --data-dir"
        )
    file_format = builder.info.file_format
    if file_format != tfds.core.FileFormat.ARRAY_RECORD:
        # Such as TFDS's default, tfrecord. TFDS refuses to add a second format to one folder.
        raise NotPreparedError(
            f"data set {name}: expected array_record, which has random access, got "
            f"{file_format.value} in {builder.data_path}. Prepare it in another folder with  "
            f"signsal prepare {name} --data-dir OTHER_DIR  (extra `prepare`)"
        )
    return builder


def prepare(name: str, data_dir: Path) -> None:
    """Downloads and prepares a TFDS set in array_record, the format with random access.

    Raises:
      ImportError: TensorFlow is not installed (extra `prepare`).
    """
    # TFDS needs both of these here but does not depend on them.
    extra("tensorflow", "prepare")
    extra("importlib_resources", "prepare")
    tfds = extra("tensorflow_datasets", "prepare")
    with _tidy_tfds():
        builder = tfds.builder(name, data_dir=str(data_dir), file_format="array_record")
    builder.download_and_prepare()


def load_tfds(name: str, split: str, data_dir: Path, image_size: tuple[int, int] | None) -> Dataset:
    """Loads a prepared set's split, see `data.load`."""
    with _tidy_tfds():
        return _load(name, split, data_dir, image_size)


def _load(name: str, split: str, data_dir: Path, image_size: tuple[int, int] | None) -> Dataset:
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
    if getattr(features["label"], "names", None) is None or len(features["image"].shape) != 3:
        raise ValueError(
            f"data set {name}: expected images with one class each, got image "
            f"{type(features['image']).__name__}{features['image'].shape} and label "
            f"{type(features['label']).__name__}{features['label'].shape}"
        )
    *own_size, channels = features["image"].shape
    height, width = image_size or _IMAGE_SIZES.get(builder.name) or own_size
    if height is None or width is None:
        raise ValueError(
            f"data set {name}: its images come in many sizes: give one with --image-size H W"
        )
    shape = (height, width, channels)
    note = Path(builder.data_path) / "NOTE.txt"
    shards = [Path(path) for path in splits[split].filepaths]
    return Dataset(
        name=f"{builder.info.full_name.rpartition('/')[0]}:{builder.info.version}",
        split=split,
        class_names=tuple(features["label"].names),
        image_shape=shape,
        source=_Decoded(builder.as_data_source(split=split), shape, shards),
        note=note.read_text().strip() if note.exists() else "",
    )
