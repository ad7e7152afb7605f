"""A worker's way through the groups of a study: chunk by chunk, each kept, then the commit."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from signsal_jax.study._config import StudyConfig
from signsal_jax.study._leases import Leases
from signsal_jax.study._parts import joined
from signsal_jax.study._table import chunk_sums
from signsal_jax.study._writer import Writer


class Groups:
    """The chunks that this worker computes, from the groups that it leases."""

    def __init__(self, config: StudyConfig, store: Writer, leases: Leases):
        self._config, self._store, self._leases = config, store, leases

    def chunks(self, stop: Callable[[], bool]) -> Iterator[int]:
        """Takes free groups and gives their chunks, without those that another worker has kept."""
        for group in self._leases.claims(stop):
            chunks = self._store.layout.chunks_of(group)
            # The last is computed in any case: with it the group is committed.
            kept = self._store.parts.kept() if len(chunks) > 1 else set()
            for chunk in chunks:
                if stop() or not self._leases.has(group):
                    break
                if chunk not in kept or chunk == chunks[-1]:
                    yield chunk

    def finish(
        self, chunk: int, arrays: Mapping[str, np.ndarray], record: Mapping[str, Any]
    ) -> bool:
        """Keeps a chunk, and with the last one of a group commits the group.

        Returns:
          Whether it was still this worker's: another one has it if this process slept too long.
        """
        group = chunk // self._store.layout.group
        *others, last = self._store.layout.chunks_of(group)
        if not self._leases.holds(group):
            self._leases.release(group)
            return False
        if chunk != last:
            self._store.parts.write(chunk, arrays, record)
            return True
        parts = [self._store.parts.read(other) for other in others]
        whole = [part for part in parts if part is not None]
        if len(whole) == len(parts):
            stored, read = joined([*whole, (arrays, record)])
            self._store.write(group, stored, chunk_sums(self._config, stored), read)
            self._store.parts.delete(others)
        else:  # one is damaged, and computed again when the group is next taken
            damaged = [other for other, part in zip(others, parts, strict=True) if part is None]
            self._store.parts.delete(damaged)
        self._leases.release(group)
        return True
