"""Parallel reading: images are decoded one group ahead, in order; unreadable ones are reported."""

import collections
import concurrent.futures
import hashlib
import os
from collections.abc import Generator, Iterable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int


@runtime_checkable
class Source(Protocol):
    """Random access to pairs of an image `[h, w, c]`, uint8 or float in [0, 1], and a label.

    Must be thread-safe. Labels are integers, -1 if unknown. If an image cannot be read,
    `__getitem__` raises `UnreadableImageError`. A source may have a method `fingerprint()` that
    identifies its content, see `data.fingerprint`.
    """

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> tuple[np.ndarray, int]: ...


class UnreadableImageError(ValueError):
    """An image that cannot be read; a run skips it and goes on.

    Attributes:
      name: the image's name, such as its path within the folder.
      shape: the (height, width, channels) that it should have had.
    """

    def __init__(self, name: str, shape: tuple[int, int, int], reason: object):
        super().__init__(f"{name}: {reason}")
        self.name, self.shape = name, shape


class Rows(NamedTuple):
    """A group of images, as `read_ahead` gives it.

    Attributes:
      images: float32 `[n, h, w, c]` in [0, 1]; black if an image is unreadable.
      labels: `[n]`, -1 if unknown.
      readable: `[n]`; where this is false, results must not count.
      problems: one line per unreadable image: its name, and what is wrong with it.
      sha256: checksum of everything that was read, in order.
    """

    images: Float[np.ndarray, "n ..."]
    labels: Int[np.ndarray, " n"]
    readable: Bool[np.ndarray, " n"]
    problems: tuple[str, ...]
    sha256: str


class _Element(NamedTuple):
    image: np.ndarray
    label: int
    problem: str | None
    digest: bytes


def to_float(images: np.ndarray) -> np.ndarray:
    """Converts uint8 pixels to float32 in [0, 1]; leaves floats, such as features, unchanged."""
    return images.astype(np.float32) / 255 if images.dtype == np.uint8 else images


def read_ahead(
    source: Source, groups: Iterable[Sequence[int]], *, strict: bool = False
) -> Generator[Rows]:
    """Groups of images in order, decoded by as many threads as there are cores.

    While the caller works on one group, only the next one is decoded: `groups` is advanced by one
    group more than was yielded. Decoders release Python's lock, so threads suffice.

    Args:
      source: the images; read by several threads at once.
      groups: the rows of each group, at least one per group.
      strict: whether an image that cannot be read is an error. Otherwise its row is black and
        `readable` is false there.

    Yields:
      `Rows`, one per group.

    Raises:
      UnreadableImageError: if `strict`, for the first image that cannot be read.

    >>> import numpy as np
    >>> from signsal_jax import data
    >>> source = data.Arrays(np.full((5, 2, 2, 1), 255, np.uint8), np.arange(5))
    >>> [rows.labels.tolist() for rows in data.read_ahead(source, [[0, 1], [4, 3]])]
    [[0, 1], [4, 3]]
    """
    pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count(), "signsal-read")
    waiting = collections.deque()
    try:
        for group in groups:
            waiting.append([pool.submit(_read, source, row, strict) for row in group])
            if len(waiting) > 1:
                yield _together(waiting.popleft())
        while waiting:
            yield _together(waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _read(source: Source, row: int, strict: bool) -> _Element:
    try:
        image, label = source[row]
    except UnreadableImageError as error:
        if strict:
            raise
        problem = str(error)
        return _Element(np.zeros(error.shape, np.float32), -1, problem, problem.encode())
    digest = hashlib.sha256(f"{image.dtype.str} {image.shape} {label}\n".encode())
    digest.update(image.tobytes())
    return _Element(to_float(image), label, None, digest.digest())


def _together(pending: Sequence["concurrent.futures.Future[_Element]"]) -> Rows:
    elements = [future.result() for future in pending]
    problems = [element.problem for element in elements]
    return Rows(
        images=np.stack([element.image for element in elements]),
        labels=np.asarray([element.label for element in elements], np.int32),
        readable=np.asarray([problem is None for problem in problems]),
        problems=tuple(problem for problem in problems if problem is not None),
        sha256=hashlib.sha256(b"".join(element.digest for element in elements)).hexdigest(),
    )
