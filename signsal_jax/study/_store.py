"""Study folders: zarr arrays written chunk by chunk, commits, manifest, merged sums."""

import errno
import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore
from etils import epath

from signsal_jax import _files

MANIFEST, COMMITS, SUMMARY, ARRAYS = "manifest.json", "commits", "summary.json", "arrays.zarr"
_FILL = {"bool": False, "int32": -1, "float16": "NaN", "float32": "NaN"}


class StudyError(ValueError):
    """A study folder that cannot be used as asked; the message says why and what to do."""


def _in_bucket(path: Any) -> bool:
    return str(path).startswith("gs://")


def _write_json(path: Any, value: Any) -> None:
    if _in_bucket(path):  # an object appears whole or not at all
        path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")
    else:
        _files.write_json(Path(path), value)


def _read_json(path: Any, advice: str) -> Any:
    try:
        return json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise StudyError(f"{path}: expected whole JSON, got {error}. {advice}") from error


def _kvstore(root: Any, name: str) -> dict[str, Any]:
    location = str(root)
    if _in_bucket(location):
        bucket, _, path = location.removeprefix("gs://").partition("/")
        return {"driver": "gcs", "bucket": bucket, "path": f"{path}/{name}/".lstrip("/")}
    return {"driver": "file", "path": f"{Path(location).absolute()}/{name}/"}


def _differences(there: Any, now: Any, name: str = "") -> list[str]:
    if isinstance(there, dict) and isinstance(now, dict):
        return [
            line
            for key in sorted(there.keys() | now.keys())
            for line in _differences(there.get(key), now.get(key), f"{name}.{key}".lstrip("."))
        ]
    return [] if there == now else [f"{name}: {there!r} there, {now!r} now"]


def _digest(manifest: Any) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


class Store:
    """The arrays of a study folder and which of their chunks are committed.

    Every array has the dimension `image` first and is split along it alone, `chunk` images at a
    time, so that no two chunks share a file. A chunk counts once `commits/NUMBER.json` exists,
    which is written after all its data is durable.
    """

    def __init__(self, root: Any):
        """Opens a study folder.

        Raises:
          StudyError: no study there, or a damaged manifest.
        """
        self.root = epath.Path(root)
        path = self.root / MANIFEST
        if not path.exists():
            raise StudyError(f"study {root}: expected a folder made by signsal study, no {path}")
        self.manifest = _read_json(
            path,
            "Restore it from a copy, or move it away: the command that made the study writes it "
            "anew and keeps every committed chunk",
        )
        try:
            self.images, self.chunk = self.manifest["images"], self.manifest["config"]["chunk"]
            self._arrays = {name: self._open(name) for name in self.manifest["arrays"]}
        except (KeyError, TypeError) as error:
            raise StudyError(
                f"{path}: expected a study's manifest, {error!r} is missing"
            ) from error

    @classmethod
    def create(cls, root: Any, manifest: Mapping[str, Any]) -> "Store":
        """Makes `root` the folder of this study, or opens it if it already is.

        Raises:
          StudyError: it holds other files, or a study with another manifest (the message names
            the fields that differ).
        """
        root = epath.Path(root)
        manifest = json.loads(json.dumps(manifest))
        if (root / MANIFEST).exists():
            differing = _differences(cls(root).manifest, manifest)
            if differing:
                raise StudyError(
                    f"out: {root} holds a study with another configuration "
                    f"({'; '.join(differing)}): choose another --out, or delete that folder"
                )
            return cls(root)
        if root.exists() and any(
            entry.name not in (COMMITS, SUMMARY, ARRAYS)
            and not entry.name.startswith((".", MANIFEST))
            for entry in root.iterdir()
        ):
            raise StudyError(f"out: expected a new or empty folder or a study, {root} holds others")
        root.mkdir(parents=True, exist_ok=True)
        (root / COMMITS).mkdir(exist_ok=True)
        for path in (root / COMMITS).glob("[0-9]*.json"):
            # The manifest was moved away: what is here must still be of this very study.
            if _read_json(path, "Delete it")["manifest"] != _digest(manifest):
                raise StudyError(
                    f"out: {root} holds chunks of a study with another configuration and no "
                    f"{MANIFEST}: restore that file, choose another --out, or delete that folder"
                )
        _write_json(root / MANIFEST, manifest)
        attributes = {key: manifest[key] for key in ("config", "names")}
        group = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        _write_json(root / ARRAYS / "zarr.json", group)
        return cls(root)

    def _open(self, name: str) -> tensorstore.TensorStore:
        spec = self.manifest["arrays"][name]
        return tensorstore.open(
            {
                "driver": "zarr3",
                "kvstore": _kvstore(self.root / ARRAYS, name),
                "metadata": {
                    "shape": [self.images, *spec["shape"]],
                    "data_type": spec["dtype"],
                    "dimension_names": ["image", *spec["dimensions"]],
                    "chunk_grid": {
                        "name": "regular",
                        "configuration": {"chunk_shape": [self.chunk, *spec["shape"]]},
                    },
                    # The checksum makes a damaged chunk an error for whoever reads it.
                    "codecs": [
                        {"name": "bytes", "configuration": {"endian": "little"}},
                        {"name": "zstd", "configuration": {"level": 1}},
                        {"name": "crc32c"},
                    ],
                    "fill_value": _FILL[spec["dtype"]],
                },
                # A chunk that is all fill value is still written: a missing file is then an error.
                "store_data_equal_to_fill_value": True,
            },
            open=True,
            create=True,
        ).result()

    @property
    def chunks(self) -> int:
        """How many chunks the whole study has."""
        return -(-self.images // self.chunk)

    def rows(self, chunk: int) -> range:
        """The images of a chunk."""
        return range(chunk * self.chunk, min((chunk + 1) * self.chunk, self.images))

    def arrays(self) -> dict[str, tensorstore.TensorStore]:
        """Lazy arrays `[image, ...]` by name: slices read only what they need."""
        return dict(self._arrays)

    def committed(self) -> list[int]:
        """The numbers of the committed chunks."""
        return sorted(int(path.stem) for path in (self.root / COMMITS).glob("[0-9]*.json"))

    def commits(self) -> list[dict[str, Any]]:
        """Every commit, in the order of the chunks.

        Raises:
          StudyError: a damaged commit.
        """
        advice = "Delete it and run the study again: only this chunk is computed again"
        folder = self.root / COMMITS
        return [_read_json(self._commit(chunk, folder), advice) for chunk in self.committed()]

    def _commit(self, chunk: int, folder: Any) -> Any:
        return folder / f"{chunk:08}.json"

    def _file(self, name: str, chunk: int) -> Any:
        zeros = ["0"] * len(self.manifest["arrays"][name]["shape"])
        return self.root.joinpath(ARRAYS, name, "c", str(chunk), *zeros)

    def write(self, chunk: int, arrays: Mapping[str, np.ndarray], sums: Mapping[str, Any]) -> None:
        """Stores a chunk and, once every array is durable, commits it with its sums.

        Raises:
          OSError: no space left (nothing is lost: see the message).
        """
        rows = self.rows(chunk)
        try:
            writes = [
                array[rows.start : rows.stop].write(arrays[name])
                for name, array in self._arrays.items()
            ]
            for write in writes:
                write.result()
            commit = {
                "chunk": chunk,
                "start": rows.start,
                "stop": rows.stop,
                "manifest": _digest(self.manifest),
                "bytes": {name: self._file(name, chunk).stat().length for name in self._arrays},
                "sums": dict(sums),
                "finished": time.time(),
            }
            _write_json(self._commit(chunk, self.root / COMMITS), commit)
        except (OSError, ValueError) as error:  # tensorstore raises ValueError for a full disk
            if getattr(error, "errno", None) != errno.ENOSPC and "No space left" not in str(error):
                raise
            raise OSError(
                f"study {self.root}: no space left while writing chunk {chunk}. Free some and "
                "run the same command: every committed chunk is kept"
            ) from error

    def check(self) -> None:
        """Checks that every committed chunk is whole and covers its own images.

        Raises:
          StudyError: a missing or truncated file, or a commit of other images.
        """
        for commit in self.commits():
            chunk, rows = commit["chunk"], self.rows(commit["chunk"])
            place = self._commit(chunk, self.root / COMMITS)
            repair = f"Delete {place} and run the study again: only this chunk is computed again"
            if (commit["start"], commit["stop"]) != (rows.start, rows.stop) or not rows:
                raise StudyError(
                    f"{place}: expected images {rows.start} to {rows.stop}, got "
                    f"{commit['start']} to {commit['stop']}. {repair}"
                )
            for name, expected in commit["bytes"].items():
                file = self._file(name, chunk)
                size = file.stat().length if file.exists() else 0
                if size != expected:
                    raise StudyError(f"{file}: expected {expected} bytes, got {size}. {repair}")

    def merge(self) -> dict[str, Any]:
        """Sums all chunks, in their order and in float64, and writes `summary.json`.

        Raises:
          StudyError: a chunk is missing or damaged.
        """
        missing = sorted(set(range(self.chunks)) - set(self.committed()))
        if missing:
            raise StudyError(
                f"study {self.root}: {len(missing)} of {self.chunks} chunks are missing, the first "
                f"is {missing[0]}: run the study again"
            )
        self.check()
        totals: dict[str, Any] = {}
        for commit in self.commits():
            for name, value in commit["sums"].items():
                totals[name] = totals.get(name, 0) + np.asarray(value)
        counts = {name: int(totals.pop(name)) for name in ("images", "valid", "correct")}
        if counts["images"] != self.images:
            raise StudyError(
                f"study {self.root}: expected {self.images} images, got {counts['images']}"
            )
        valid = max(counts["valid"], 1)
        summary = {
            **counts,
            "accuracy": counts["correct"] / valid,
            "mean": {name: (total / valid).tolist() for name, total in totals.items()},
        }
        _write_json(self.root / SUMMARY, summary)
        return summary


def open_study(root: Any) -> Store:
    """A study folder for analysis, while the study runs or after.

    Args:
      root: a local folder or gs:// address.

    Returns:
      `Store`: `arrays()` are lazy (`np.asarray(store.arrays()["logits"][:100])`), `manifest`
      says what they are, `committed()` which chunks are there yet; images of the others read as
      NaN, -1 and False. Plain zarr and xarray open `DIR/arrays.zarr` too.

    Raises:
      StudyError: no study there, or a damaged one.
    """
    return Store(root)
