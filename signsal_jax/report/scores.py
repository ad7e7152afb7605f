"""One number per image and map from everything that a study stores: what can be compared."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from signsal_jax.metrics import Interval, auc, bootstrap_interval
from signsal_jax.report.formats import markdown_rows
from signsal_jax.study import Store

STEP = 4 / 255
_RANDOM = "random"


class Score(NamedTuple):
    """One evaluation, image by image.

    Attributes:
      name: of the evaluation.
      better: 1 where higher is better, -1 where lower is, 0 where it only describes.
      values: by map (and control) `[n]`.
      chance: what a map of random numbers gets on average; None where `values` have a random
        control, or there is no such number.
    """

    name: str
    better: int
    values: Mapping[str, np.ndarray]
    chance: float | None = None


def image_scores(store: Store) -> list[Score]:
    """The scores of every evaluation that a study stores, over its valid images.

    Args:
      store: from `open_study` or `evaluate`.

    Returns:
      The scores, in a fixed order. Images where a map has none (it keeps nothing) are left out for
      all maps of that score, so that its values stay paired.
    """
    numbers = store.available()
    arrays = store.arrays()
    valid = arrays["valid"][numbers]

    def rows(name: str) -> np.ndarray:
        return arrays[name][numbers][valid]

    found = []
    for needed, make in _MAKERS.items():
        if needed in arrays:
            found += list(make(rows, store.manifest["names"]))
    return [_without_gaps(score) for score in found]


def _without_gaps(score: Score) -> Score:
    whole = np.isfinite(np.stack(list(score.values.values()))).all(0)
    return score._replace(values={name: array[whole] for name, array in score.values.items()})


Rows = Callable[[str], np.ndarray]
Names = Mapping[str, list[Any]]


def _areas(
    labels: list[str], agreement: np.ndarray, fractions: list[float]
) -> dict[str, dict[str, np.ndarray]]:
    """By fill and map, the area of each image; of several random orders their mean."""
    areas = np.asarray(auc(agreement, fractions))
    found: dict[str, dict[str, list[np.ndarray]]] = {}
    for index, label in enumerate(labels):
        fill, name = label.split()
        name = _RANDOM if name.startswith(f"{_RANDOM}_") else name
        found.setdefault(fill, {}).setdefault(name, []).append(areas[:, index])
    return {
        fill: {name: np.mean(columns, 0) for name, columns in maps.items()}
        for fill, maps in found.items()
    }


def _deletion(rows: Rows, names: Names) -> Iterator[Score]:
    labels, agreement = list(names["curve"]), rows("agreement")
    if "control_curve" in names:
        labels += names["control_curve"]
        agreement = np.concatenate([agreement, rows("control_agreement")], 1)
    for fill, values in _areas(labels, agreement, names["fraction"]).items():
        yield Score(f"deletion, {fill}", -1, values)


def _imputation(rows: Rows, names: Names) -> Iterator[Score]:
    areas = _areas(names["imputed_curve"], rows("imputed_agreement"), names["fraction"])
    for fill, values in areas.items():
        yield Score(f"deletion, {fill}", -1, values)


def _insertion(rows: Rows, names: Names) -> Iterator[Score]:
    areas = _areas(names["insertion_curve"], rows("insertion_agreement"), names["fraction"])
    for fill, values in areas.items():
        yield Score(f"insertion, {fill}", 1, values)


def _small_step(rows: Rows, names: Names) -> Iterator[Score]:
    change = rows("step_change").astype(np.float64)
    epsilon = int(np.argmin(np.abs(np.asarray(names["epsilon"]) - STEP)))
    length = f"{255 * names['epsilon'][epsilon]:g}/255"
    ways = {way: change[:, :, index, epsilon] for index, way in enumerate(names["step_way"])}
    for index, score in enumerate(names["step_score"][:2]):
        sign = (ways["along"] - ways["against"])[..., index] / 2
        ranking = (ways["along"] - ways["random_pixels"])[..., index]
        yield Score(f"step {length}, sign, {score}", 1, _columns(names["step_map"], sign), 0)
        yield Score(f"step {length}, pixels, {score}", 1, _columns(names["step_map"], ranking), 0)


def _rival(rows: Rows, names: Names) -> Iterator[Score]:
    along, _, flipped = np.moveaxis(rows("rival_change").astype(np.float64), 2, 0)
    for index, score in enumerate(names["rival_score"][:2]):
        difference = (along - flipped)[..., index]
        yield Score(f"rival, {score}", 1, _columns(names["rival_map"], difference), 0)


def _rival_groups(rows: Rows, names: Names) -> Iterator[Score]:
    place = rows("rival_place").astype(np.float64)
    difference = place[..., 0] - place[..., 1]
    yield Score("runner-up's place", -1, _columns(names["placed_map"], difference), 0)


def _infidelity(rows: Rows, names: Names) -> Iterator[Score]:
    correlation = rows("infidelity")[..., 1].astype(np.float64)
    for index, kind in enumerate(names["perturbation"]):
        values = _columns(names["infidelity_map"], correlation[:, :, index])
        yield Score(f"infidelity's correlation, {kind}", 1, values, 0)


def _patches(rows: Rows, names: Names) -> Iterator[Score]:
    ranks = rows("patch_ranks").astype(np.float64)
    for index, fill in enumerate(names["patch_fill"]):
        yield Score(f"patches, {fill}", 1, _columns(names["patch_map"], ranks[:, index]), 0)


def _sensitivity(rows: Rows, names: Names) -> Iterator[Score]:
    values = rows("sensitivity").astype(np.float64)
    yield Score("max-sensitivity", -1, _columns(names["sensitivity_map"], values))


def _randomization(rows: Rows, names: Names) -> Iterator[Score]:
    correlation = rows("randomization").astype(np.float64)[:, :, -1]
    for index, score in enumerate(names["randomization_score"]):
        values = _columns(names["randomized_map"], correlation[..., index])
        yield Score(f"randomized weights, {score}", -1, values, 0)


def _sparsity(rows: Rows, names: Names) -> Iterator[Score]:
    values = _columns(names["method"], rows("sparsity").astype(np.float64))
    yield Score("sparsity (Gini)", 0, values, 1 / 3)


_MAKERS: dict[str, Callable[[Rows, Names], Iterator[Score]]] = {
    "agreement": _deletion,
    "imputed_agreement": _imputation,
    "insertion_agreement": _insertion,
    "step_change": _small_step,
    "rival_change": _rival,
    "rival_place": _rival_groups,
    "infidelity": _infidelity,
    "patch_ranks": _patches,
    "sensitivity": _sensitivity,
    "randomization": _randomization,
    "sparsity": _sparsity,
}


def _columns(labels: list[str], values: np.ndarray) -> dict[str, np.ndarray]:
    return {label: values[:, index] for index, label in enumerate(labels)}


def score_rows(scores: list[Score], seed: int = 0) -> list[dict[str, Any]]:
    """Summarizes scores over images, one row per evaluation and map.

    Args:
      scores: from `image_scores`.
      seed: of the bootstrap over images.

    Returns:
      Rows with evaluation, better, map, images, and with bootstrap intervals the mean, the mean
      minus that of the random control (or of chance), and minus vanilla's on the same images; None
      where there is no such reference.
    """
    rows, key = [], jax.random.key(seed)
    for score in scores:
        random = score.values.get(_RANDOM, score.chance)
        references = {"minus_random": random, "minus_vanilla": score.values.get("vanilla")}
        columns = list(score.values.values())
        for reference in references.values():
            if reference is not None:
                columns += [values - reference for values in score.values.values()]
        found = iter(_bounds(bootstrap_interval(key, np.stack(columns, 1))))
        table: dict[str, list[Any]] = {"mean": [next(found) for _ in score.values]}
        for name, reference in references.items():
            table[name] = [None if reference is None else next(found) for _ in score.values]
        for index, (name, values) in enumerate(score.values.items()):
            row = {"evaluation": score.name, "better": score.better, "map": name}
            row |= {"images": len(values)}
            rows.append(row | {part: values[index] for part, values in table.items()})
    return rows


def _bounds(interval: Interval) -> list[dict[str, float]]:
    return [
        {"mean": float(mean), "low": float(low), "high": float(high)}
        for mean, low, high in zip(*map(np.asarray, interval), strict=True)
    ]


_HEADER = ("evaluation", "better", "map", "mean", "95 % interval", "minus random", "minus vanilla")


def scores_table(rows: list[dict[str, Any]]) -> str:
    """The rows of `score_rows` in Markdown."""
    lines = []
    better = {1: "higher", -1: "lower", 0: ""}
    for row in rows:
        mean = row["mean"]
        lines.append(
            (
                row["evaluation"],
                better[row["better"]],
                row["map"],
                f"{mean['mean']:.4f}",
                f"{mean['low']:.4f} to {mean['high']:.4f}",
                _difference(row["minus_random"]),
                _difference(row["minus_vanilla"] if row["map"] != "vanilla" else None),
            )
        )
    return markdown_rows(_HEADER, lines)


def _difference(bounds: dict[str, float] | None) -> str:
    if bounds is None:
        return ""
    return f"{bounds['mean']:+.4f} ({bounds['low']:+.4f} to {bounds['high']:+.4f})"
