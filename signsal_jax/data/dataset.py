"""Image sets with labels, and batches made from them."""

import concurrent.futures
import dataclasses
import functools
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from PIL import Image

from signsal_jax._extras import extra
from signsal_jax._progress import progress
from signsal_jax.data import fingerprint
from signsal_jax.data.reading import Source, read_ahead, to_float

# Larger sets are decoded each time they are read.
_MEMORY_LIMIT_BYTES = 2 * 2**30


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
    """One split of an image set; `source[i]` is (image, label).

    Attributes:
      name: name and version, such as "cifar10:3.0.2".
      split: such as "train" or "test".
      class_names: the name of every label; empty where the images have no labels (all are -1).
      image_shape: (height, width, channels) of every image, after resizing.
      source: random access to the images and labels.
      note: a remark that figures made from this data must carry, from the set's NOTE.txt.
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

    @property
    def labelled(self) -> bool:
        """Whether labels are known, so that accuracy can be measured."""
        return bool(self.class_names)

    @functools.cached_property
    def fingerprint(self) -> dict[str, Any]:
        """Identifies this data; a dict ready for JSON, computed on first access.

        Two data sets with equal fingerprints hold the same images. It has a `kind` and, depending
        on that, names, sizes, times and checksums, see `data.fingerprint`.
        """
        return fingerprint.of_source(self.source)


class Batch(NamedTuple):
    """Images in [0, 1], labels, and a mask of the real rows (the last batch is padded)."""

    images: Float[np.ndarray, "b ..."]
    labels: Int[np.ndarray, " b"]
    mask: Bool[np.ndarray, " b"]


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scales an image `[h, w, c]` to `size` (height, width), bilinear with antialiasing."""
    if image.shape[:2] == size:
        return image
    width_first = (size[1], size[0])
    channels = [
        Image.fromarray(channel).resize(width_first, Image.Resampling.BILINEAR)
        for channel in np.moveaxis(image, 2, 0)
    ]
    return np.stack([np.asarray(channel) for channel in channels], axis=2)


def in_memory(dataset: Dataset) -> Dataset:
    """Decodes a set once and keeps it in memory, in its stored dtype, if it takes at most 2 GiB.

    For programs that read every image many times, such as training: decoding costs more than
    running a small network. Programs that read every image once gain nothing.

    Raises:
      UnreadableImageError: an image that cannot be read.
    """
    source, shape = dataset.source, dataset.image_shape
    if isinstance(source, Arrays) or len(source) * int(np.prod(shape)) > _MEMORY_LIMIT_BYTES:
        return dataset
    images, labels = None, np.empty(len(source), np.int32)
    title = f"reading {dataset.name} {dataset.split}"
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        elements = pool.map(source.__getitem__, range(len(source)))
        with progress(title, len(source), "image") as bar:
            for row, (image, label) in enumerate(elements):
                images = np.empty((len(source), *shape), image.dtype) if images is None else images
                images[row], labels[row] = image, label
                bar.update()
    if images is None:
        return dataset
    return dataclasses.replace(dataset, source=Arrays(images, labels, read_from=source))


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size: expected at least 1, got {batch_size}")


def batches(source: Source, batch_size: int) -> Iterator[Batch]:
    """Yields every image once, in order; black images with a false mask pad the last batch.

    Raises:
      ValueError: a batch size below 1; `UnreadableImageError` if an image cannot be read.
    """
    _check_batch_size(batch_size)
    starts = range(0, len(source), batch_size)
    groups = (range(start, min(start + batch_size, len(source))) for start in starts)
    for rows in read_ahead(source, groups, strict=True):
        padding = batch_size - len(rows.labels)
        images = np.pad(rows.images, ((0, padding), *[(0, 0)] * (rows.images.ndim - 1)))
        yield Batch(images, np.pad(rows.labels, (0, padding)), np.pad(rows.readable, (0, padding)))


def _stacked(elements: Sequence[tuple[np.ndarray, int]]) -> tuple[np.ndarray, np.ndarray]:
    images, labels = zip(*elements, strict=True)
    return to_float(np.stack(images)), np.asarray(labels, np.int32)


def training_batches(
    source: Source, batch_size: int, seed: int, *, part: tuple[int, int] = (0, 1)
) -> Any:
    """Endless shuffled batches as a grain `MapDataset`: `[step]` is a pure function of the seed.

    Every image comes once per epoch, each epoch in a new order. Batches continue across the end of
    an epoch, so none is smaller. Random access by step makes a resume exact.

    Args:
      source: the images and labels.
      batch_size: the number of images that `[step]` gives.
      seed: seed of the order.
      part: `(i, n)` for part i of n. At each step the batches of the n parts are disjoint;
        together they are the batch of `n * batch_size` that a single part would get.
    """
    _check_batch_size(batch_size)
    grain = extra("grain", "data")
    shuffled = grain.MapDataset.source(source).shuffle(seed=seed).repeat()
    if part != (0, 1):
        shuffled = shuffled.slice(slice(part[0], None, part[1]))
    return shuffled.batch(batch_size, drop_remainder=True, batch_fn=_stacked)
