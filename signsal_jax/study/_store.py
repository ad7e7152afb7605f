"""A study's folder as a whole: its manifest, its arrays, what is committed, the merged sums."""

import contextlib
import errno
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorstore

from signsal_jax import _files
from signsal_jax.study._arrays import ARRAYS, StudyArray, checksums, open_zarr
from signsal_jax.study._claim import MANIFEST, claim, identity, read_manifest
from signsal_jax.study._commits import COMMITS, Commits, digest
from signsal_jax.study._folder import Folder, StudyError as StudyError, open_folder
from signsal_jax.study._leases import LEASES, sweep as sweep_leases
from signsal_jax.study._workers import WORKERS, sweep as sweep_workers

SUMMARY = "summary.json"
_GROUP = f"{ARRAYS}/zarr.json"


class Store:
    """The arrays of a study folder and which of their chunks are committed.

    Every array has the dimension `image` first and is stored `chunk` images at a time. A chunk
    counts once `commits/NUMBER.json` exists, which is written after all its data is durable.
    """

    def __init__(self, root: Any):
        """Opens a study folder for reading.

        Raises:
          StudyError: no study there, or a damaged manifest.
        """
        self._open(open_folder(root))

    def _open(self, folder: Folder) -> None:
        manifest = read_manifest(folder)
        if manifest is None:
            raise StudyError(
                f"study {folder}: expected a folder made by signsal study, no {folder}/{MANIFEST}"
            )
        self.folder, self.root, self.manifest = folder, folder.root, manifest
        self.images, self.chunk = self.manifest["images"], self.manifest["config"]["chunk"]
        self._commits = Commits(
            folder,
            manifest=digest(identity(self.manifest)),
            chunks=self.chunks,
            rows=self.rows,
            signed=self.manifest.get("format", 1) > 1,
        )
        self._zarr: dict[str, tensorstore.TensorStore] = {}  # what `write` writes to

    @classmethod
    def create(cls, root: Any, manifest: Mapping[str, Any]) -> "Store":
        """Makes `root` the folder of this study, or opens it if it already is, for writing.

        Of several studies that start at once in one folder, one gets it; the others raise.

        A study of fewer images becomes one of as many as this; its full chunks stay as they are.

        Raises:
          StudyError: it holds other files, or a study with another manifest (the message names
            the fields that differ) or of more images.
        """
        folder = open_folder(root)
        claim(folder, manifest, parts=(COMMITS, ARRAYS, LEASES, WORKERS, SUMMARY))
        store = cls.__new__(cls)
        store._open(folder)
        store._write_where_it_differs(_GROUP, store._group())
        store._zarr = {
            name: open_zarr(folder, name, spec, store.images, store.chunk, create=True)
            for name, spec in store.manifest["arrays"].items()
        }
        return store

    def _group(self) -> dict[str, Any]:
        """The metadata of the arrays' folder, for those who open it as plain zarr."""
        attributes = {key: self.manifest.get(key, {}) for key in ("config", "names")}
        return {"zarr_format": 3, "node_type": "group", "attributes": attributes}

    def _write_where_it_differs(self, name: str, value: Any) -> None:
        text = _files.json_text(value)
        if self.folder.read([name])[0] != text.encode():
            self.folder.write(name, text)

    @property
    def chunks(self) -> int:
        """The number of chunks of the whole study."""
        return -(-self.images // self.chunk)

    def rows(self, chunk: int) -> range:
        """The images of a chunk."""
        return range(chunk * self.chunk, min((chunk + 1) * self.chunk, self.images))

    def arrays(self) -> dict[str, StudyArray]:
        """The arrays `[image, ...]` by name; an index reads only the chunks that it needs."""
        return {
            name: StudyArray(self.folder, name, spec, self.images, self.chunk, self._commits)
            for name, spec in self.manifest["arrays"].items()
        }

    def commits(self) -> list[dict[str, Any]]:
        """Every commit, in the order of the chunks."""
        return list(self._commits.scan()[0].values())

    def committed(self) -> list[int]:
        """The numbers of the committed chunks."""
        return list(self._commits.scan()[0])

    def uncommitted(self) -> list[int]:
        """The numbers of the chunks that are left."""
        return sorted(set(range(self.chunks)) - set(self.committed()))

    def is_committed(self, chunk: int) -> bool:
        """Whether a chunk is committed, by a look at it alone."""
        return self._commits.read(chunk) is not None

    def available(self) -> np.ndarray:
        """The indices of the images that can be read: those of the committed chunks."""
        rows = [np.arange(row.start, row.stop) for row in map(self.rows, self.committed())]
        return np.concatenate([np.zeros(0, np.int64), *rows])

    def strays(self) -> list[str]:
        """A line about each file among the commits that is none: damaged, copied or alien.

        None of them counts; the chunk whose place one takes is computed again.
        """
        committed, strays = self._commits.scan()
        if strays and not committed:
            return [f"{self.folder}/{MANIFEST}: no commit belongs to it", *strays]
        return strays

    def write(
        self,
        chunk: int,
        arrays: Mapping[str, np.ndarray],
        sums: Mapping[str, Any],
        read: Mapping[str, Any] | None = None,
    ) -> bool:
        """Stores a chunk and, once every array is durable, commits it with its sums.

        `read` is what the commit says of the images read, see `unreadable`. Returns whether this
        call committed it: another worker may have done so meanwhile.

        Raises:
          StudyError: the folder has become another study's.
          OSError: no space left (nothing is lost: see the message).
        """
        rows = self.rows(chunk)
        with self._explained_if_full(chunk):
            self._check_ours()
            writes = [
                array[rows.start : rows.stop].write(arrays[name])
                for name, array in self._zarr.items()
            ]
            for write in writes:
                write.result()
            self._check_ours()
            files = {name: array.file(chunk) for name, array in self.arrays().items()}
            fields = {
                "crc32c": checksums(self.folder, files),
                "sums": dict(sums),
                "finished": time.time(),
            }
            if read is not None:
                fields["read"] = dict(read)
            return self._commits.write(chunk, fields)

    def unreadable(self) -> dict[int, str]:
        """Which images of the committed chunks could not be read, and why, by number."""
        found = {}
        for commit in self.commits():
            for number, problem in commit.get("read", {}).get("unreadable", {}).items():
                found[int(number)] = problem
        return found

    def _check_ours(self) -> None:
        there = read_manifest(self.folder)
        if there is not None and there["images"] > self.images:
            raise StudyError(
                f"study {self.folder}: it was extended from {self.images} to {there['images']} "
                f"images while this worker ran. Start it again with --images {there['images']}: "
                "everything committed is kept"
            )
        if there != self.manifest:
            raise StudyError(
                f"{self.folder}/{MANIFEST} was removed or replaced while the study ran: nothing "
                "more is written there"
            )

    @contextlib.contextmanager
    def _explained_if_full(self, chunk: int) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # tensorstore raises ValueError for a full disk
            if getattr(error, "errno", None) != errno.ENOSPC and "No space left" not in str(error):
                raise
            raise OSError(
                f"study {self.folder}: no space left while writing chunk {chunk}. Free some and "
                "run the same command: every committed chunk is kept"
            ) from error

    def verify(self) -> list[str]:
        """Reads everything that is committed, checks all checksums, and names what is wrong.

        Returns:
          A line, with the cure, for each chunk, commit or metadata file that is missing, damaged
          or not this study's; none for a sound study.
        """
        self._commits.forget()
        committed, found = self.committed(), self.strays()
        for array in self.arrays().values():
            for chunk in committed:
                try:
                    array.check(chunk)
                except StudyError as error:
                    found.append(str(error))
        rewritten = {_GROUP: self._group()}
        content = self.folder.read([SUMMARY])[0]
        if content is not None and len(committed) == self.chunks:
            rewritten[SUMMARY] = self.summary()
        for name, value in rewritten.items():
            if self.folder.read([name])[0] != _files.json_text(value).encode():
                found.append(
                    f"{self.folder}/{name}: missing or damaged; no array depends on it. Run the "
                    "study again: it is written anew"
                )
        return list(dict.fromkeys(found))  # an array's metadata fail for each of its chunks

    def summary(self) -> dict[str, Any]:
        """The sums of all chunks, in their order and in float64.

        Raises:
          StudyError: chunks are missing.
        """
        committed, strays = self._commits.scan()
        if missing := sorted(set(range(self.chunks)) - set(committed)):
            raise StudyError(
                f"study {self.folder}: {len(missing)} of {self.chunks} chunks are missing, the "
                f"first is {missing[0]}: run the study again{''.join(f'. {s}' for s in strays[:3])}"
            )
        totals: dict[str, Any] = {}
        for commit in committed.values():
            for name, value in commit["sums"].items():
                totals[name] = totals.get(name, 0) + np.asarray(value)
        counts = {name: int(totals.pop(name)) for name in ("images", "valid", "correct")}
        if counts["images"] != self.images:
            raise StudyError(
                f"study {self.folder}: expected {self.images} images, got {counts['images']}"
            )
        valid = max(counts["valid"], 1)
        labelled = self.manifest.get("data", {}).get("labelled", True)
        return {
            **counts,
            "accuracy": counts["correct"] / valid if labelled else None,
            "mean": {name: (total / valid).tolist() for name, total in totals.items()},
        }

    def check(self) -> None:
        """Checks that every file of the committed chunks ends in the checksum of its commit.

        Raises:
          StudyError: a missing, truncated or foreign file; `verify` reads the files whole.
        """
        committed = self.committed()
        for array in self.arrays().values():
            array.compare(committed)

    def merge(self) -> dict[str, Any]:
        """Checks and sums all chunks, and writes `summary.json` unless it says so already.

        What workers that died have left behind goes.

        Raises:
          StudyError: a chunk is missing or damaged.
        """
        summary = self.summary()
        self.check()
        self._check_ours()
        self._write_where_it_differs(SUMMARY, summary)
        sweep_leases(self.folder)
        sweep_workers(self.folder)
        return summary


def open_study(root: Any) -> Store:
    """A study folder for analysis, while the study runs or after; nothing in it is changed.

    Args:
      root: a local folder, or gs:// or s3:// address.

    Returns:
      `Store`: `manifest` says what the arrays are, and `arrays()` reads them as they are indexed:
      `store.arrays()["logits"][:100]`. While the study runs, `available()` are the images that
      can be read. Plain zarr and xarray open `DIR/arrays.zarr` too; to them, what is missing is
      NaN, -1 or False.

    Raises:
      StudyError: no study there, or a damaged manifest.
    """
    return Store(root)
