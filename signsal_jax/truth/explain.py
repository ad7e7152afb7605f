"""The maps that the benchmark compares, what each claims, and its scores on a batch of scenes."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from signsal_jax._types import ApplyFn, ClassExtrema, Variables
from signsal_jax.evaluations import claimed_values, control_maps
from signsal_jax.gradients import Estimator, class_extrema, named_estimator, target_gradient
from signsal_jax.maps import runner_up
from signsal_jax.truth.render import footprints
from signsal_jax.truth.samples import Sample
from signsal_jax.truth.scores import pixel_scores, rival_scores, sign_scores
from signsal_jax.truth.tasks import Task
from signsal_jax.truth.truth import design_effects, directions, only_rivals

SCORES = (
    *("mass", "rank", "precision", "chance"),
    *("sign_pixels", "sign_covered", "sign_marks", "rival"),
)
_POINTS = 8
_OF_PLAIN = (
    *("vanilla", "positive", "negative", "active", "inactive"),
    *("weighted_contrast", "weighted_contrast_positive", "weighted_contrast_negative"),
)
_OF_OTHERS = ("vanilla", "weighted_contrast")


class About(NamedTuple):
    """What a map claims.

    Attributes:
      signed: whether its values have signs.
      direction: 1 or -1 for maps of marks that help when brighter, or darker; 0 for both.
      named_on: the direction of marks on which it names a single rival; 0 for none. Where brighter
        hurts the label against one class, that class has the highest gradient of all others, with
        which active compares; where it helps against one, the lowest.
    """

    signed: bool = True
    direction: int = 0
    named_on: int = 0


MAPS: dict[str, About] = {
    "vanilla": About(),
    "positive": About(direction=1),
    "negative": About(direction=-1),
    "active": About(direction=1, named_on=-1),
    "inactive": About(direction=-1, named_on=1),
    "weighted_contrast": About(),
    "weighted_contrast_positive": About(direction=1),
    "weighted_contrast_negative": About(direction=-1),
    "gradient_x_input vanilla": About(),
    "gradient_x_input weighted_contrast": About(),
    "smooth_grad vanilla": About(),
    "smooth_grad weighted_contrast": About(),
    "integrated_gradients vanilla": About(),
    "integrated_gradients weighted_contrast": About(),
    "random": About(),
    "laplace": About(signed=False),
}
"""The maps that are compared, in the order of tables."""

Computed = tuple[Array, Array | None]
"""Values `[b, h, w, c]`, positive where the map says that brighter helps (at least 0 without sign),
and the class that it names as the rival `[b, h, w]`."""


def _estimators() -> dict[str, Estimator]:
    return {
        "gradient_x_input": named_estimator("gradient_x_input"),
        "smooth_grad": named_estimator("smooth_grad", samples=_POINTS),
        "integrated_gradients": named_estimator("integrated_gradients", steps=_POINTS),
    }


def _computed(method: str, extrema: ClassExtrema) -> Computed:
    named = runner_up(method, extrema)[1] if method in ("active", "inactive") else None
    return claimed_values(method, extrema), named


def compute_maps(
    apply_fn: ApplyFn, variables: Variables, images: Array, label: Array, key: Array
) -> dict[str, Computed]:
    """Computes all of `MAPS` of a batch; random maps and an edge filter are the baselines.

    Pure. Without the scenes, so that it compiles once for all tasks of a network.
    """
    settings: dict[str, Any] = {"target": label, "contrasts": ("weighted",)}
    extrema = class_extrema(apply_fn, variables, images, **settings)
    found = {method: _computed(method, extrema) for method in _OF_PLAIN}
    for name, estimator in _estimators().items():
        other = target_gradient(apply_fn, variables, images, estimator=estimator, **settings)
        found |= {f"{name} {method}": _computed(method, other) for method in _OF_OTHERS}
    edges = control_maps(key, images, extrema.gradient)["laplace"]
    found["random"] = jax.random.normal(key, images.shape), None
    found["laplace"] = edges[..., None], None
    return found


def known(task: Task, samples: Sample) -> tuple[Array, Array, Array]:
    """Returns the marks `[b, m, h, w, c]`, their directions and only rivals `[b, m]`."""
    design, shown = design_effects(task, samples), samples.scene.amplitude != 0
    marks = jax.vmap(footprints)(samples.scene)
    return marks, directions(design, shown), only_rivals(design, shown)


def score_map(
    about: About, computed: Computed, marks: Array, direction: Array, rival: Array
) -> Mapping[str, Array]:
    """Scores a map on a batch.

    Args:
      about: what the map claims.
      computed: its values `[b, h, w, c]` and the rivals that it names.
      marks: from `known`, like the direction and rival of each.

    Returns:
      By score (of `SCORES`), `[b]` or per mark `[b, m]`; NaN where there is nothing to ask.
    """
    values, named = computed
    asked = direction != 0 if about.direction == 0 else direction == about.direction
    true = ((marks != 0) & asked[:, :, None, None, None]).any((1, 4))
    scores = dict(pixel_scores(jnp.abs(values).max(-1), true)._asdict())
    if about.signed:
        # On the marks of both directions: what a map says of the other direction is wrong.
        signs = sign_scores(values, marks, direction)
        scores |= {"sign_pixels": signs.pixels, "sign_covered": signs.covered}
        if about.direction == 0:
            scores["sign_marks"] = signs.marks
    if named is not None:
        on = jnp.where(direction == about.named_on, rival, -1)
        scores["rival"] = rival_scores(named, marks, on)
    return scores
