"""The figures of small steps: how scores change along and against the signs that maps claim."""

from typing import Any

import jax
import numpy as np

from signsal_jax.evaluations import SCORES, WAYS
from signsal_jax.metrics import bootstrap_interval, paired_difference

_HEADER = ("map", "step", "moved", "way", "logit", "95 % interval", "margin", "p", "logit rose")


def step_summary(
    change: np.ndarray, moved: np.ndarray, maps: list[str], epsilons: list[float], seed: int
) -> list[dict[str, Any]]:
    """Summarizes small steps over images, one row per map, way and epsilon.

    Args:
      change: `[n, map, way, epsilon, score]`, see `SmallStep`.
      moved: `[n, map]`.
      maps: the names of the maps.
      epsilons: the lengths of the steps.
      seed: of the bootstrap over images.

    Returns:
      Rows with map, way, epsilon, the share of moved pixels, per score of `SCORES` the mean change
      with its interval, the share of images whose logit rose, and for "along" the paired
      differences of the logit's change from each other way's.
    """
    key = jax.random.key(seed)
    rows = []
    for m, name in enumerate(maps):
        for e, epsilon in enumerate(epsilons):
            for w, way in enumerate(WAYS):
                values = change[:, m, w, e]
                interval = bootstrap_interval(key, values)
                row: dict[str, Any] = {
                    "map": name,
                    "way": way,
                    "epsilon": float(epsilon),
                    "moved": float(moved[:, m].mean(dtype=np.float64)),
                    "rose": float((values[:, 0] > 0).mean()),
                }
                for s, score in enumerate(SCORES):
                    row[score] = {bound: float(getattr(interval, bound)[s]) for bound in _BOUNDS}
                if way == "along":
                    others = change[:, m, 1:, e, 0]
                    along = np.broadcast_to(values[:, :1], others.shape)
                    found = paired_difference(key, along, others)
                    row["minus"] = {
                        other: {bound: float(getattr(found, bound)[o]) for bound in _BOUNDS}
                        for o, other in enumerate(WAYS[1:])
                    }
                rows.append(row)
    return rows


_BOUNDS = ("mean", "low", "high")


def steps_table(rows: list[dict[str, Any]]) -> str:
    """The table of small steps in Markdown, steps in 255ths of the pixel range."""
    lines = [_HEADER, ("---",) * len(_HEADER)]
    for row in rows:
        logit = row["logit"]
        lines.append(
            (
                row["map"],
                f"{255 * row['epsilon']:g}/255",
                f"{row['moved']:.3f}",
                row["way"].replace("_", " "),
                f"{logit['mean']:+.3f}",
                f"{logit['low']:+.3f} to {logit['high']:+.3f}",
                f"{row['margin']['mean']:+.3f}",
                f"{row['probability']['mean']:+.3f}",
                f"{row['rose']:.1%}",
            )
        )
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
