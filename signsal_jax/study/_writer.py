"""Writing to a study's folder: claiming it, storing groups of chunks, committing them."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorstore

from signsal_jax.study._arrays import ARRAYS, checksums, open_zarr
from signsal_jax.study._claim import MANIFEST, claim
from signsal_jax.study._commits import COMMITS
from signsal_jax.study._constants import write_constant
from signsal_jax.study._folder import open_folder
from signsal_jax.study._leases import LEASES
from signsal_jax.study._parts import PARTS
from signsal_jax.study._space import explained_if_full
from signsal_jax.study._store import GROUP, SUMMARY, Store
from signsal_jax.study._workers import WORKERS


class Writer(Store):
    """A study folder that a worker writes to."""

    def __init__(self, root: Any, manifest: Mapping[str, Any]):
        """Makes `root` the folder of this study, or opens it if it already is.

        Of several studies that start at once in one folder, one gets it; the others raise.

        A study of fewer images becomes one of as many as this; its full groups stay as they are.

        Raises:
          StudyError: it holds other files, or a study with another manifest (the message names
            the fields that differ) or of more images.
        """
        folder = open_folder(root)
        if folder.read([MANIFEST])[0] is None:
            folder.require_conditional_writes()
        claim(folder, manifest, parts=(COMMITS, ARRAYS, LEASES, PARTS, WORKERS, SUMMARY))
        self._open(folder)
        self._write_where_it_differs(GROUP, self._group())
        self._zarr = {
            name: open_zarr(folder, name, spec, self.layout, create=True)
            for name, spec in self.manifest["arrays"].items()
        }

    def write_constants(self, constants: Mapping[str, np.ndarray]) -> None:
        """Stores the arrays of the manifest's `constants` that are missing or damaged."""
        for name, values in constants.items():
            write_constant(self.folder, name, self.manifest["constants"][name], values)

    def write(
        self,
        group: int,
        arrays: Mapping[str, np.ndarray],
        sums: Mapping[str, Any],
        read: Mapping[str, Any] | None = None,
    ) -> bool:
        """Stores a group and, once every array is durable, commits it with its sums.

        `read` is what the commit says of the images read, see `unreadable`. Returns whether this
        call committed it: another worker may have done so meanwhile.

        Raises:
          StudyError: the folder has become another study's.
          OSError: no space left (nothing is lost: see the message).
        """
        rows = self.layout.images_of(group)
        with self.folder.explained(), explained_if_full(self.folder, group):
            self._check_ours()
            # In one transaction a shard is written once, not once per chunk.
            with tensorstore.Transaction() as transaction:
                for name, array in self._zarr.items():
                    place = array.with_transaction(transaction)[rows.start : rows.stop]
                    place.write(arrays[name]).result()
            self._check_ours()
            files = {name: array.file(group) for name, array in self.arrays().items()}
            fields = {
                "crc32c": checksums(self.folder, files),
                "sums": dict(sums),
                "finished": time.time(),
            }
            if read is not None:
                fields["read"] = dict(read)
            return self._commits.write(group, fields)
