"""A labelled image set, and the batches made from it."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int
from PIL import Image

from signsal_jax._extras import extra
from signsal_jax.data import fingerprint


@runtime_checkable
class Source(Protocol):
    """Random access to (uint8 image `[h, w, c]`, integer label)."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> tuple[np.ndarray, int]: ...


class Arrays:
    """Images and labels in memory, and the source that they were read from, if any."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, read_from: Source | None = None):
        self.images, self.labels, self._read_from = images, labels, read_from

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self.images[index], int(self.labels[index])

    def fingerprint(self) -> dict[str, Any]:
        if self._read_from is not None:
            return fingerprint.of_source(self._read_from)
        return fingerprint.of_arrays(self.images, self.labels)


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

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self.source[index]

    @functools.cached_property
    def fingerprint(self) -> dict[str, Any]:
        """What tells this data from other data, ready for JSON; made when first asked for.

        Two data sets with equal fingerprints hold the same images. It has a `kind` and, depending
        on that, names, sizes, times and checksums, see `data.fingerprint`.
        """
        return fingerprint.of_source(self.source)


class Batch(NamedTuple):
    """Images in [0, 1], labels, and which rows are real (the last batch is padded)."""

    images: Float[np.ndarray, "b h w c"]
    labels: Int[np.ndarray, " b"]
    mask: Bool[np.ndarray, " b"]


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A uint8 image `[h, w, c]` scaled to `size` (height, width), bilinear with antialiasing."""
    if image.shape[:2] == size:
        return image
    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    resized = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(resized).reshape(*size, image.shape[2])


def to_float(images: np.ndarray) -> np.ndarray:
    """uint8 pixels as float32 in [0, 1]; floats, such as features, as they are."""
    return images.astype(np.float32) / 255 if images.dtype == np.uint8 else images


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size: expected at least 1, got {batch_size}")


def _stacked(elements: Sequence[tuple[np.ndarray, int]]) -> tuple[np.ndarray, np.ndarray]:
    images, labels = zip(*elements, strict=True)
    return to_float(np.stack(images)), np.asarray(labels, np.int32)


def batches(source: Source, batch_size: int) -> Iterator[Batch]:
    """Every image once, in order; the last batch is padded with black images, mask false."""
    _check_batch_size(batch_size)
    for start in range(0, len(source), batch_size):
        rows = range(start, min(start + batch_size, len(source)))
        images, labels = _stacked([source[row] for row in rows])
        padding = batch_size - len(rows)
        images = np.pad(images, ((0, padding), *[(0, 0)] * (images.ndim - 1)))
        labels = np.pad(labels, (0, padding))
        yield Batch(images, labels, np.arange(batch_size) < len(rows))


def training_batches(
    source: Source, batch_size: int, seed: int, *, part: tuple[int, int] = (0, 1)
) -> Any:
    """Endless shuffled batches as a grain `MapDataset`: `[step]` is a pure function of the seed.

    Every image comes once an epoch, each epoch in another order; batches run on across the end
    of an epoch, so none is smaller. Random access by step is what makes a resume exact.

    Args:
      source: the images and labels.
      batch_size: how many of them `[step]` gives.
      seed: of the order.
      part: `(i, n)` for part i of n, whose batches of a step are disjoint and make up the batch
        of `n * batch_size` that one part alone would be given.
    """
    _check_batch_size(batch_size)
    grain = extra("grain", "data")
    shuffled = grain.MapDataset.source(source).shuffle(seed=seed).repeat()
    if part != (0, 1):
        shuffled = shuffled.slice(slice(part[0], None, part[1]))
    return shuffled.batch(batch_size, drop_remainder=True, batch_fn=_stacked)
