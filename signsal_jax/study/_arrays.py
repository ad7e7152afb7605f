"""The arrays of a study: zarr, one file per group of images, and reads that check what they read.

zarr itself takes a missing file for one of fill values, and a file copied over another for data.
So a group's commit keeps the checksum that ends each of its files (a CRC-32C): a read compares it,
and only committed images can be read. Where a group is one chunk that checksum is of the content,
and the codec compares them. Where it is several, the file is a zarr shard: the checksum is of the
places and sizes of the chunks in it, and each of them ends in a checksum of its own content.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorstore

from signsal_jax.study._commits import Commits, name_of
from signsal_jax.study._layout import Layout
from signsal_jax.study._place import Folder, StudyError

ARRAYS = "arrays.zarr"
FILL = {"bool": False, "int32": -1, "float16": "NaN", "float32": "NaN"}
"""What plain zarr readers find where nothing is written yet, by the types that are stored."""
_CHECKSUM_BYTES = 4


def open_zarr(
    folder: Folder, name: str, spec: Mapping[str, Any], layout: Layout, *, create: bool
) -> tensorstore.TensorStore:
    """Opens an array, split along `image` alone so that no two groups share a file.

    With `create` it is made if there is none, and extended if it has fewer images.

    Raises:
      StudyError: as `open_in_chunks`.
    """
    whole = {
        "dtype": spec["dtype"],
        "dimensions": ["image", *spec["dimensions"]],
        "shape": [layout.images, *spec["shape"]],
    }
    cut = [layout.chunk, *spec["shape"]]
    return open_in_chunks(folder, name, whole, cut, layout.group, create=create)


def open_in_chunks(
    folder: Folder,
    name: str,
    spec: Mapping[str, Any],
    chunk: Sequence[int],
    group: int = 1,
    *,
    create: bool,
) -> tensorstore.TensorStore:
    """Opens an array whose files hold groups of chunks of this shape, each with its checksum.

    Raises:
      StudyError: there is none and `create` is false; or its metadata are damaged.
    """
    metadata = {
        "shape": list(spec["shape"]),
        "data_type": spec["dtype"],
        "dimension_names": list(spec["dimensions"]),
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": [chunk[0] * group, *chunk[1:]]},
        },
        "codecs": _codecs(list(chunk), group),
        "fill_value": FILL[spec["dtype"]],
    }
    request = {
        "driver": "zarr3",
        "kvstore": folder.kvstore(f"{ARRAYS}/{name}"),
        "metadata": metadata,
        # What is all fill value is a file too: that none is there is then an error.
        "store_data_equal_to_fill_value": True,
        "fill_missing_data_reads": False,
    }
    try:
        array = _opened(request, create=create)
        if create and array.shape[0] < spec["shape"][0]:
            array = array.resize(exclusive_max=spec["shape"], expand_only=True).result()
        return array
    except ValueError as error:
        if any(reason in str(error) for reason in ("No space left", "PERMISSION_DENIED")):
            raise
        raise StudyError(
            f"{folder}/{ARRAYS}/{name}/zarr.json: missing or damaged. Delete it and run the study "
            f"again: it is made anew, and everything committed is kept ({error})"
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


def _codecs(chunk_shape: list[int], group: int) -> list[dict[str, Any]]:
    chunk = [
        {"name": "bytes", "configuration": {"endian": "little"}},
        {"name": "zstd", "configuration": {"level": 1}},
        {"name": "crc32c"},
    ]
    if group == 1:
        return chunk
    shard = {
        "chunk_shape": chunk_shape,
        "codecs": chunk,
        "index_codecs": [chunk[0], chunk[2]],
        "index_location": "end",
    }
    return [{"name": "sharding_indexed", "configuration": shard}]


def checksums(folder: Folder, files: Mapping[str, str]) -> dict[str, str]:
    """By array, the CRC-32C that ends a group's file, in hexadecimal.

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
      StudyError: an image that is not committed yet; a file that is missing or damaged. The
        message names the group and the cure.
    """

    def __init__(
        self,
        folder: Folder,
        name: str,
        spec: Mapping[str, Any],
        layout: Layout,
        commits: Commits,
    ):
        self._folder, self._name, self._spec = folder, name, spec
        self._layout, self._commits = layout, commits
        self._zarr: tensorstore.TensorStore | None = None
        self.shape = (layout.images, *spec["shape"])
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

    def file(self, group: int) -> str:
        """The file of a group."""
        return "/".join([ARRAYS, self._name, "c", str(group), *["0"] * len(self._spec["shape"])])

    def check(self, group: int) -> None:
        """Reads a committed group whole.

        Raises:
          StudyError: as indexing does.
        """
        rows = self._layout.images_of(group)
        self._rows(np.arange(rows.start, rows.stop))

    def _rows(self, rows: np.ndarray) -> np.ndarray:
        if not len(rows):
            return np.zeros((0, *self.shape[1:]), self.dtype)
        groups = [int(group) for group in np.unique(rows // self._layout.group_images)]
        self.compare(groups)
        if self._zarr is None:
            self._zarr = open_zarr(self._folder, self._name, self._spec, self._layout, create=False)
        low, high = int(rows.min()), int(rows.max()) + 1
        contiguous = len(rows) == high - low and (np.diff(rows) == 1).all()
        try:
            return self._zarr[slice(low, high) if contiguous else rows].read().result()
        except ValueError as error:
            if len(groups) > 1:  # which of them it was
                for group in groups:
                    self.check(group)
            raise self._damaged(groups[0], str(error)) from error

    def compare(self, groups: list[int]) -> None:
        """Compares the checksums at the ends of committed files with those of their commits.

        Raises:
          StudyError: as indexing does.
        """
        expected = {}
        for group in groups:
            commit = self._commits.read(group)
            if commit is None:
                rows = self._layout.images_of(group)
                raise StudyError(
                    f"study {self._folder}: group {group} (images {rows[0]} to {rows[-1]}) is not "
                    "committed: run the study to its end, or read only the images of available()"
                )
            expected[group] = commit.get("crc32c", {}).get(self._name)
        found = self._folder.read([self.file(group) for group in groups], last=_CHECKSUM_BYTES)
        for group, content in zip(groups, found, strict=True):
            if content is None:
                raise self._damaged(group, "the file is missing")
            if expected[group] not in (None, content.hex()):  # old commits have none
                raise self._damaged(
                    group, f"expected the checksum {expected[group]}, got {content.hex() or 'none'}"
                )

    def _damaged(self, group: int, reason: str) -> StudyError:
        return StudyError(
            f"{self._folder}/{self.file(group)}: {reason}. Delete {self._folder}/{name_of(group)} "
            f"and run the study again: only group {group} is computed again"
        )
