"""User data in Python sequences and npz files: checked, and scaled to one size."""

import threading
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from signsal_jax.data import fingerprint
from signsal_jax.data.dataset import Arrays, Dataset, resize
from signsal_jax.data.photos import printable
from signsal_jax.data.reading import UnreadableImageError


@runtime_checkable
class Elements(Protocol):
    """Anything with a length whose elements are images or (image, label) pairs."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


class _Sequence:
    """A user's sequence as a `Source`: read one element at a time, with all images of one shape."""

    def __init__(self, elements: Elements, name: str, labelled: bool, shape: tuple[int, int, int]):
        self.elements, self.name, self.labelled, self.shape = elements, name, labelled, shape
        # The user's code need not be thread-safe; few readers of file formats are.
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.elements)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        name = f"{self.name}[{index}]"
        try:
            with self._lock:
                image, label = _split(self.elements[index], self.labelled)
            image = _pixels(name, image[None])[0]
        except (ValueError, OSError) as error:
            raise UnreadableImageError(name, self.shape, error) from error
        if image.shape[2] != self.shape[2]:
            reason = f"expected {self.shape[2]} channels like the first, got {image.shape[2]}"
            raise UnreadableImageError(name, self.shape, reason)
        return resize(image, self.shape[:2]), label

    def fingerprint(self) -> dict[str, Any]:
        own = getattr(self.elements, "fingerprint", None)
        return fingerprint.of_elements(self) if own is None else own()


def _split(element: Any, labelled: bool) -> tuple[np.ndarray, int]:
    """Splits a user's element into image and label; the label is -1 if the set has none."""
    image, label = element if isinstance(element, tuple) else (element, -1)
    return np.asarray(image), int(label) if labelled else -1


def from_sequence(
    elements: Elements,
    *,
    class_names: Sequence[str] = (),
    image_size: tuple[int, int] | None = None,
    name: str = "images",
) -> Dataset:
    """Makes a data set from anything with `__len__` and `__getitem__`.

    Args:
      elements: `elements[i]` is (image, label) or, without `class_names`, an image alone. An image
        is an array `[h, w, c]` or `[h, w]`, uint8 or floating in [0, 1], or a PIL image. Elements
        are read one at a time, so this need not be thread-safe. If reading one raises a
        ValueError or OSError, a run skips that image and goes on.
      class_names: the name of every label; empty for images without labels.
      image_size: (height, width) to resize to; None for the size of the first image.
      name: the set's name in results and messages.

    Returns:
      `Dataset`, for `evaluate`, `run_study` and everything else that takes one.

    Raises:
      TypeError: class names that are one string.
      ValueError: no elements, or a first element that is not an image.

    >>> import numpy as np
    >>> from signsal_jax import data
    >>> dataset = data.from_sequence([(np.zeros((4, 4)), 1)], class_names=["cat", "dog"])
    >>> dataset.image_shape, dataset[0][1]
    ((4, 4, 1), 1)
    """
    if isinstance(class_names, str):
        raise TypeError(f"class_names: expected a sequence of names, got {class_names!r}")
    if not len(elements):
        raise ValueError(f"data set {name}: expected at least one image, got none")
    first = _pixels(f"{name}[0]", _split(elements[0], False)[0][None])[0]
    height, width = image_size or (first.shape[0], first.shape[1])
    shape = (height, width, first.shape[2])
    source = _Sequence(elements, name, bool(class_names), shape)
    return Dataset(name, "all", tuple(class_names), shape, source)


def load_npz(path: Path, image_size: tuple[int, int] | None) -> Dataset:
    """Loads an npz file's images and labels, see `data.load`."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"data set {printable(path)}: expected a readable npz file, got: {error}"
        ) from error
    if "images" not in arrays:
        raise ValueError(
            f"data set {printable(path)}: expected the keys images and labels, got "
            f"{', '.join(map(printable, arrays)) or 'none'}"
        )
    images = _pixels(f"data set {printable(path)}", arrays["images"])
    labels, class_names = _labels(path, arrays, len(images))
    height, width = image_size or (images.shape[1], images.shape[2])
    source = Arrays(images, labels)
    if images.shape[1:3] != (height, width):
        source = _Resized(source, (height, width))
    return Dataset(
        name=printable(path.stem),
        split="all",
        class_names=class_names,
        image_shape=(height, width, images.shape[3]),
        source=source,
    )


class _Resized:
    """A source whose images are scaled on access."""

    def __init__(self, source: Arrays, size: tuple[int, int]):
        self.source, self.size = source, size

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        image, label = self.source[index]
        return resize(image, self.size), label

    def fingerprint(self) -> dict[str, Any]:
        return self.source.fingerprint()


def _pixels(name: str, images: np.ndarray) -> np.ndarray:
    """Converts images to uint8 or float32 `[n, h, w, c]`; raises if they are not images."""
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(
            f"{name}: expected images [h, w, c] or [h, w], got shape {images.shape[1:]}"
        )
    if images.dtype == np.uint8:
        return images
    if not np.issubdtype(images.dtype, np.floating):
        raise ValueError(f"{name}: expected uint8 or floating images, got {images.dtype}")
    # NaN passes here: it makes a single image invalid, and a run reports which.
    wrong = ((images < 0) | (images > 1)).any(axis=(1, 2, 3))
    if wrong.any():
        row = int(np.argmax(wrong))
        low, high = np.nanmin(images[row]), np.nanmax(images[row])
        raise ValueError(
            f"{name}: expected floating pixels in [0, 1], got {low} to {high} (image {row} of "
            f"{len(images)}): divide by 255, or give uint8"
        )
    return images.astype(np.float32)


def _labels(
    path: Path, arrays: dict[str, np.ndarray], images: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The labels and class names of an npz file; without labels, all are -1 and no names."""
    if "labels" not in arrays:
        return np.full(images, -1, np.int32), ()
    labels = arrays["labels"]
    if labels.shape != (images,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"data set {printable(path)}: expected {images} integer labels, got {labels.dtype} "
            f"of shape {labels.shape}"
        )
    names = arrays.get("class_names")
    if names is None:
        names = np.arange(labels.max() + 1)
    if names.ndim != 1 or labels.min() < 0 or labels.max() >= len(names):
        raise ValueError(
            f"data set {printable(path)}: expected labels in [0, {len(names) - 1}], got "
            f"{labels.min()} to {labels.max()}"
        )
    return labels.astype(np.int32), tuple(map(str, names))
