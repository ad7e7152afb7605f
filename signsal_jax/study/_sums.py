"""The sums of a whole study, from those of its groups."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np


def summed(commits: Iterable[Mapping[str, Any]], *, labelled: bool) -> dict[str, Any]:
    """The summary of a study: the sums of its commits, in their order and in float64.

    Args:
      commits: of all groups.
      labelled: whether the data have labels; without, there is no accuracy.

    Returns:
      Counts, accuracy, and the mean of every summed array over the valid images.
    """
    totals: dict[str, Any] = {}
    for commit in commits:
        for name, value in commit["sums"].items():
            totals[name] = totals.get(name, 0) + np.asarray(value)
    counts = {name: int(totals.pop(name)) for name in ("images", "valid", "correct")}
    valid = max(counts["valid"], 1)
    return {
        **counts,
        "accuracy": counts["correct"] / valid if labelled else None,
        "mean": {name: (total / valid).tolist() for name, total in totals.items()},
    }
