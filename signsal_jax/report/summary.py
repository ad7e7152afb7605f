"""The figures of a study: accuracy, deletion and insertion curves, areas with intervals."""

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from signsal_jax.metrics import Interval, auc, bootstrap_interval, paired_difference
from signsal_jax.report.scores import image_scores, score_rows
from signsal_jax.report.steps import step_summary
from signsal_jax.study import Store

_MOST_NAMED = 100


def read_rows(store: Store, name: str) -> np.ndarray:
    """An array of a study over the images committed so far, in order."""
    return store.arrays()[name][store.available()]


def summarize(store: Store, *, seed: int = 0) -> dict[str, Any]:
    """The figures of a study, finished or not, ready for JSON.

    Args:
      store: from `open_study` or `evaluate`.
      seed: of the bootstrap over images (1 000 resamples, 95 % intervals).

    Returns:
      A dict. Always: `images` (those that all means are over: computed and valid), `of` (the
      images of the whole study), `complete`, `invalid` (how many computed images are unreadable
      or have logits or gradients that are not finite, the numbers of the first 100, and what is
      wrong with the unreadable ones), `accuracy` (None without labels), and `scores`: the mean of
      every evaluation per map, with its differences from random and from vanilla, see `score_rows`.
      With stored deletion, controls, imputation or insertion: `fractions` and, in `curves`,
      `controls`, `imputation` or `insertion`, per curve its fill and map, fidelity, share of pixels
      deleted (inserted), AUC, and AUC minus vanilla's with the same fill (None without vanilla),
      both with intervals; with random orders also AUC minus their mean (`auc_minus_random`). With
      stored small steps: `small_step`, see `step_summary`. Where maps were needed: `empty_maps`,
      how many of each method are empty.

    Raises:
      ValueError: no valid image has been computed; fractions that are not increasing.

    Reference: arXiv 2309.12913, fidelity and AUC of black and white deletion.
    """
    valid, numbers = read_rows(store, "valid"), store.available()
    if not valid.any():
        raise ValueError(
            f"study {store.folder}: expected at least one valid image, got none of {len(valid)} "
            f"computed (of {store.images})"
        )
    labels, predicted = (read_rows(store, name)[valid] for name in ("label", "predicted"))
    labelled = labels >= 0
    summary: dict[str, Any] = {
        "images": int(valid.sum()),
        "of": store.images,
        "complete": len(numbers) == store.images,
        "invalid": {
            "count": int((~valid).sum()),
            "numbers": numbers[~valid][:_MOST_NAMED].tolist(),
            "unreadable": list(store.unreadable().values())[:_MOST_NAMED],
        },
        "accuracy": float((labels == predicted)[labelled].mean()) if labelled.any() else None,
    }
    stored, names = store.arrays(), store.manifest["names"]
    if "empty" in stored:
        counts = read_rows(store, "empty")[valid].sum(0).tolist()
        summary["empty_maps"] = dict(zip(names["method"], counts, strict=True))
    for share, parts in (
        (
            "deleted",
            (
                ("curves", "curve", "agreement", "deleted"),
                ("controls", "control_curve", "control_agreement", "control_deleted"),
                ("imputation", "imputed_curve", "imputed_agreement", "imputed_deleted"),
            ),
        ),
        (
            "inserted",
            (("insertion", "insertion_curve", "insertion_agreement", "inserted"),),
        ),
    ):
        parts = [part for part in parts if part[2] in stored]
        if not parts:
            continue
        summary["fractions"] = names["fraction"]
        # Together, so that controls are compared with the same vanilla curves.
        found = iter(
            _curves(
                [tuple(name.split()) for part in parts for name in names[part[1]]],
                np.concatenate([read_rows(store, part[2])[valid] for part in parts], axis=1),
                share,
                np.concatenate([read_rows(store, part[3])[valid] for part in parts], axis=1),
                names["fraction"],
                jax.random.key(seed),
            )
        )
        for key, dimension, _, _ in parts:
            summary[key] = list(itertools.islice(found, len(names[dimension])))
    if "step_change" in stored:
        change, moved = (read_rows(store, name)[valid] for name in ("step_change", "step_moved"))
        summary["small_step"] = step_summary(
            change, moved, names["step_map"], names["epsilon"], seed
        )
    summary["scores"] = score_rows(image_scores(store), seed)
    return summary


def _curves(
    curves: Sequence[tuple[str, ...]],
    agreement: np.ndarray,
    name: str,
    share: np.ndarray,
    fractions: Sequence[float],
    key: jax.Array,
) -> list[dict[str, Any]]:
    areas = np.asarray(auc(agreement, fractions))
    intervals = _bounds(bootstrap_interval(key, areas))
    vanilla = {
        fill: areas[:, index] for index, (fill, method) in enumerate(curves) if method == "vanilla"
    }
    differences: list[Any] = [None] * len(curves)
    if vanilla:
        baseline = np.stack([vanilla[fill] for fill, _ in curves], axis=1)
        differences = _bounds(paired_difference(key, areas, baseline))
    random = {
        fill: areas[:, [curve[0] == fill and "random" in curve[1] for curve in curves]].mean(1)
        for fill, method in curves
        if "random" in method
    }
    to_random: list[Any] = [None] * len(curves)
    if random:
        baseline = np.stack([random[fill] for fill, _ in curves], axis=1)
        to_random = _bounds(paired_difference(key, areas, baseline))
    return [
        {
            "fill": fill,
            "map": method,
            "auc": intervals[index],
            "auc_minus_vanilla": differences[index],
            **({"auc_minus_random": to_random[index]} if random else {}),
            "fidelity": agreement[:, index].mean(0, dtype=np.float64).tolist(),
            name: share[:, index].mean(0, dtype=np.float64).tolist(),
        }
        for index, (fill, method) in enumerate(curves)
    ]


def _bounds(interval: Interval) -> list[dict[str, float]]:
    return [
        {"mean": float(mean), "low": float(low), "high": float(high)}
        for mean, low, high in zip(*map(np.asarray, interval), strict=True)
    ]
