"""The images of a study: labelled among the network's classes, read one chunk ahead."""

import collections
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from signsal_jax import data
from signsal_jax.models import Model


def fitted(
    model: Model, splits: Sequence[data.Dataset], target: str | int | None = None
) -> list[data.Dataset]:
    """The splits with labels among the network's classes.

    Raises:
      ValueError: other channels than the network's, classes that are not the network's, or labels
        as targets where there are none.
    """
    for split in splits:
        if split.image_shape[2] != model.input_shape[2]:
            raise ValueError(
                f"data set {split.name}: expected {model.input_shape[2]} channels like the "
                f"network, got {split.image_shape[2]}"
            )
        if target == "label" and not split.labelled:
            raise ValueError(
                f"target: expected predicted or a class index, got label: data set {split.name} "
                "has no labels"
            )
    return [data.match_classes(split, model.class_names) for split in splits]


class ChunkReader:
    """Reads the chunks of a study in the order given, the next while one is computed.

    Iterating gives `(chunk, images, labels)`; `chunks` is asked for one chunk more than was given.

    An image that cannot be read becomes NaN: like any image whose logits are not finite, it is
    invalid and takes no part in sums and means.

    Args:
      images: all images of the study.
      chunks: their numbers.
      rows: the images of a chunk.
      strict: whether an image that cannot be read is an error.
    """

    def __init__(
        self,
        images: data.Source,
        chunks: Iterable[int],
        rows: Callable[[int], range],
        *,
        strict: bool = False,
    ):
        self._rows = rows
        self._ahead: collections.deque[int] = collections.deque()
        self._groups = data.read_ahead(images, self._noted(chunks), strict=strict)
        self._records: dict[int, dict[str, Any]] = {}

    def _noted(self, chunks: Iterable[int]) -> Iterator[range]:
        for chunk in chunks:
            self._ahead.append(chunk)
            yield self._rows(chunk)

    def __iter__(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        for group in self._groups:
            chunk, images = self._ahead.popleft(), group.images
            if group.problems:
                images = images.copy()
                images[~group.readable] = np.nan
            numbers = self._rows(chunk).start + np.flatnonzero(~group.readable)
            unreadable = dict(zip(map(str, numbers.tolist()), group.problems, strict=True))
            self._records[chunk] = {"sha256": group.sha256, "unreadable": unreadable}
            yield chunk, images, group.labels

    def record(self, chunk: int) -> dict[str, Any]:
        """For the chunk's commit: a checksum of what was read, and what could not be, by number."""
        return self._records.pop(chunk)

    def close(self) -> None:
        """Stops reading ahead."""
        self._groups.close()
