"""The figures of small steps: how scores change along and against the signs that maps claim."""

from typing import Any

import jax
import numpy as np

from signsal_jax.evaluations import SCORES, WAYS
from signsal_jax.metrics import bootstrap_interval, paired_difference
from signsal_jax.report.formats import Column


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


def steps_table(rows: list[dict[str, Any]]) -> list[Column]:
    """The table of small steps, one row per map, step and way.

    Args:
      rows: of `step_summary`.

    Returns:
      Columns for `format_table` and `write_table`; readers see steps in 255ths of the pixel range.
    """

    def of(key: str) -> list[Any]:
        return [row[key] for row in rows]

    def mean(score: str) -> list[float]:
        return [row[score]["mean"] for row in rows]

    return [
        Column("map", of("map"), "map"),
        Column("step", [f"{255 * epsilon:g}/255" for epsilon in of("epsilon")], "step"),
        Column("moved", of("moved"), "moved", ".3f"),
        Column("way", [way.replace("_", " ") for way in of("way")], "way"),
        Column("logit", of("logit"), "logit", "+.3f"),
        Column("margin", mean("margin"), "margin", "+.3f"),
        Column("p", mean("probability"), "p", "+.3f"),
        Column("rose", of("rose"), "logit rose", ".1%"),
    ]
