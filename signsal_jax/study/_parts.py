"""Parts: the chunks of a group that is still at work, so that a lost worker takes one chunk along.

The chunks of a group share an object of each array, and an object has one writer. So the group is
what is leased and committed; a worker that computes it keeps each finished chunk in a file of its
own, `parts/CHUNK.npz`, and whoever takes the group over goes on from there. The last chunk needs
none: it is followed by the commit, after which the parts go.
"""

import io
import json
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from signsal_jax.study._place import Folder

PARTS = "parts"
_ABOUT = "about.json"
_NAME = re.compile(r"([0-9]{8,})\.npz")


def _file(chunk: int) -> str:
    return f"{PARTS}/{chunk:08}.npz"


class Parts:
    """The computed chunks of groups that are not committed yet.

    Args:
      folder: of the study.
      manifest: the digest of what stays the same in its manifest.
    """

    def __init__(self, folder: Folder, manifest: str):
        self._folder, self._manifest = folder, manifest

    def write(
        self, chunk: int, arrays: Mapping[str, np.ndarray], record: Mapping[str, Any]
    ) -> None:
        """Keeps a chunk's arrays and what its commit will say of the images read."""
        about = json.dumps({"manifest": self._manifest, "chunk": chunk, "read": dict(record)})
        content = io.BytesIO()
        stored: dict[str, Any] = {_ABOUT: np.frombuffer(about.encode(), np.uint8), **arrays}
        np.savez(content, **stored)
        self._folder.write(_file(chunk), content.getvalue())

    def kept(self) -> set[int]:
        """The chunks of which there is something."""
        found = map(_NAME.fullmatch, self._folder.names(PARTS))
        return {int(match[1]) for match in found if match}

    def read(self, chunk: int) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """What was kept of a chunk, or None where there is none of this study, or a damaged one."""
        content = self._folder.read([_file(chunk)])[0]
        if content is None:
            return None
        try:
            with np.load(io.BytesIO(content)) as opened:
                arrays = dict(opened)
            about = json.loads(arrays.pop(_ABOUT).tobytes())
        except (ValueError, OSError, KeyError, zipfile.BadZipFile):
            return None
        if (about["manifest"], about["chunk"]) != (self._manifest, chunk):
            return None
        return arrays, about["read"]

    def delete(self, chunks: Iterable[int]) -> None:
        """Removes what was kept of chunks."""
        self._folder.delete([_file(chunk) for chunk in chunks])


def joined(
    parts: Sequence[tuple[Mapping[str, np.ndarray], Mapping[str, Any]]],
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a group's chunks one after another, and what they say of the images read."""
    arrays = {name: np.concatenate([each[name] for each, _ in parts]) for name in parts[0][0]}
    unreadable: dict[str, str] = {}
    for _, record in parts:
        unreadable |= record["unreadable"]
    sums = " ".join(record["sha256"] for _, record in parts)
    return arrays, {"sha256": sums, "unreadable": unreadable}


def sweep(folder: Folder) -> None:
    """Removes the parts of a finished study that dead workers have left."""
    names = [name for name in folder.names(PARTS) if not name.startswith(".")]
    folder.delete([f"{PARTS}/{name}" for name in names])
