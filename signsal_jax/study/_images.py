"""The images of a study by number."""

from collections.abc import Sequence

import numpy as np

from signsal_jax import data


class JoinedSplits:
    """Splits one after another, up to a limit: (image, label) by number."""

    def __init__(self, splits: Sequence[data.Dataset], limit: int | None = None):
        self.splits = splits
        self._ends = np.cumsum([len(split) for split in splits])
        everything = int(self._ends[-1])
        self._length = min(everything, limit or everything)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        split = int(np.searchsorted(self._ends, index, side="right"))
        return self.splits[split][index - (int(self._ends[split - 1]) if split else 0)]
