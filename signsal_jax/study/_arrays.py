"""The arrays of a study: zarr, one file per chunk of images, and reads that check what they read.

zarr itself takes a missing chunk for one of fill values, and a file copied over another for data.
So a chunk's commit keeps the checksum that ends each of its files (the codec's CRC-32C): a read
compares it, the codec compares the file's content with it, and only committed images can be read.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorstore

from signsal_jax.study._commits import Commits, name_of
from signsal_jax.study._folder import Folder, StudyError

ARRAYS = "arrays.zarr"
FILL = {"bool": False, "int32": -1, "float16": "NaN", "float32": "NaN"}
"""What plain zarr readers find where nothing is written yet, by the types that are stored."""
_CHECKSUM_BYTES = 4


def open_zarr(
    folder: Folder, name: str, spec: Mapping[str, Any], images: int, chunk: int, *, create: bool
) -> tensorstore.TensorStore:
    """Opens an array, split along `image` alone so that no two chunks share a file.

    With `create` it is made if there is none, and extended if it has fewer images.

    Raises:
      StudyError: there is none and `create` is false; or its metadata are damaged.
    """
    metadata = {
        "shape": [images, *spec["shape"]],
        "data_type": spec["dtype"],
        "dimension_names": ["image", *spec["dimensions"]],
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": [chunk, *spec["shape"]]},
        },
        "codecs": [
            {"name": "bytes", "configuration": {"endian": "little"}},
            {"name": "zstd", "configuration": {"level": 1}},
            {"name": "crc32c"},
        ],
        "fill_value": FILL[spec["dtype"]],
    }
    request = {
        "driver": "zarr3",
        "kvstore": folder.kvstore(f"{ARRAYS}/{name}"),
        "metadata": metadata,
        # A chunk that is all fill value is a file too: that none is there is then an error.
        "store_data_equal_to_fill_value": True,
        "fill_missing_data_reads": False,
    }
    try:
        array = _opened(request, create=create)
        if create and array.shape[0] < images:
            array = array.resize(exclusive_max=[images, *spec["shape"]], expand_only=True).result()
        return array
    except ValueError as error:
        if any(reason in str(error) for reason in ("No space left", "PERMISSION_DENIED")):
            raise
        raise StudyError(
            f"{folder}/{ARRAYS}/{name}/zarr.json: missing or damaged. Delete it and run the study "
            f"again: it is made anew, and every committed chunk is kept ({error})"
        ) from error


def _opened(request: dict[str, Any], *, create: bool) -> tensorstore.TensorStore:
    """An array with the metadata of a request; its number of images may have grown since."""
    metadata = {key: value for key, value in request["metadata"].items() if key != "shape"}
    while True:
        try:
            return tensorstore.open({**request, "metadata": metadata}, open=True).result()
        except ValueError as error:
            if not (create and "NOT_FOUND" in str(error)):
                raise
        try:
            return tensorstore.open(request, create=True, open=False).result()
        except ValueError as error:
            if "ALREADY_EXISTS" not in str(error):  # another worker was first
                raise


def checksums(folder: Folder, files: Mapping[str, str]) -> dict[str, str]:
    """By array, the CRC-32C that ends a chunk's file, in hexadecimal.

    Raises:
      StudyError: a file is missing.
    """
    found = folder.read(list(files.values()), last=_CHECKSUM_BYTES)
    for file, content in zip(files.values(), found, strict=True):
        if content is None:
            raise StudyError(f"{folder}/{file}: removed as soon as it was written")
    return {name: (content or b"").hex() for name, content in zip(files, found, strict=True)}


class StudyArray:
    """An array `[image, ...]` of a study; what is indexed is read from its folder, and checked.

    Indexing follows NumPy and gives NumPy arrays: `array[:100]`, `array[5, 2]`,
    `array[store.available()]`; `np.asarray(array)` reads everything. Only the chunks that an index
    needs are read.

    Raises (where it is indexed):
      StudyError: an image that is not computed yet; a chunk that is missing or damaged. The
        message names the chunk and the cure.
    """

    def __init__(
        self,
        folder: Folder,
        name: str,
        spec: Mapping[str, Any],
        images: int,
        chunk: int,
        commits: Commits,
    ):
        self._folder, self._name, self._spec = folder, name, spec
        self._chunk, self._commits = chunk, commits
        self._zarr: tensorstore.TensorStore | None = None
        self.shape = (images, *spec["shape"])
        self.dtype = np.dtype(spec["dtype"])
        self.dimensions = ("image", *spec["dimensions"])

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"StudyArray({self._name}, shape={self.shape}, dtype={self.dtype})"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError(f"{self!r}: expected copy=None or True, got False: it is on disk")
        return np.asarray(self[:], dtype)

    def __getitem__(self, index: Any) -> Any:
        first, *rest = index if isinstance(index, tuple) else (index,)
        if first is None or first is Ellipsis:
            return self._rows(np.arange(len(self)))[index]
        rows = np.arange(len(self))[first]  # NumPy's rules, and its errors
        if isinstance(first, slice):
            return self._rows(rows)[(slice(None), *rest)]
        needed, places = np.unique(rows, return_inverse=True)
        # An integer stays one, so that the rest of the index means what it means to NumPy.
        place = 0 if np.ndim(rows) == 0 else places.reshape(np.shape(rows))
        return self._rows(needed)[(place, *rest)]

    def file(self, chunk: int) -> str:
        """The file of a chunk."""
        return "/".join([ARRAYS, self._name, "c", str(chunk), *["0"] * len(self._spec["shape"])])

    def check(self, chunk: int) -> None:
        """Reads a committed chunk whole.

        Raises:
          StudyError: as indexing does.
        """
        rows = np.arange(chunk * self._chunk, min((chunk + 1) * self._chunk, len(self)))
        self._rows(rows)

    def _rows(self, rows: np.ndarray) -> np.ndarray:
        if not len(rows):
            return np.zeros((0, *self.shape[1:]), self.dtype)
        chunks = [int(chunk) for chunk in np.unique(rows // self._chunk)]
        self.compare(chunks)
        if self._zarr is None:
            self._zarr = open_zarr(
                self._folder, self._name, self._spec, len(self), self._chunk, create=False
            )
        low, high = int(rows.min()), int(rows.max()) + 1
        contiguous = len(rows) == high - low and (np.diff(rows) == 1).all()
        try:
            return self._zarr[slice(low, high) if contiguous else rows].read().result()
        except ValueError as error:
            if len(chunks) > 1:  # which of them it was
                for chunk in chunks:
                    self.check(chunk)
            raise self._damaged(chunks[0], str(error)) from error

    def compare(self, chunks: list[int]) -> None:
        """Compares the checksums at the ends of committed files with those of their commits.

        Raises:
          StudyError: as indexing does.
        """
        expected = {}
        for chunk in chunks:
            commit = self._commits.read(chunk)
            if commit is None:
                raise StudyError(
                    f"study {self._folder}: chunk {chunk} (images {chunk * self._chunk} to "
                    f"{min((chunk + 1) * self._chunk, len(self)) - 1}) is not committed: run the "
                    "study to its end, or read only the images of available()"
                )
            expected[chunk] = commit.get("crc32c", {}).get(self._name)
        found = self._folder.read([self.file(chunk) for chunk in chunks], last=_CHECKSUM_BYTES)
        for chunk, content in zip(chunks, found, strict=True):
            if content is None:
                raise self._damaged(chunk, "the file is missing")
            if expected[chunk] not in (None, content.hex()):  # old commits have none
                raise self._damaged(
                    chunk, f"expected the checksum {expected[chunk]}, got {content.hex() or 'none'}"
                )

    def _damaged(self, chunk: int, reason: str) -> StudyError:
        return StudyError(
            f"{self._folder}/{self.file(chunk)}: {reason}. Delete {self._folder}/{name_of(chunk)} "
            f"and run the study again: only chunk {chunk} is computed again"
        )
