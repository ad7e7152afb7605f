"""What a study's entries need of the class gradients, and the cut they are computed through."""

from collections.abc import Sequence

from signsal_jax._methods import needs_rivals
from signsal_jax._types import ApplyFn, Images, Variables
from signsal_jax.evaluations.entry import EXTREMA, MAPS, Entry
from signsal_jax.evaluations.registry import chosen
from signsal_jax.gradients import Cut, Estimator, choose_cut
from signsal_jax.study._config import StudyConfig


def needs_of(entries: Sequence[Entry]) -> frozenset[str]:
    """Returns what any of the entries needs."""
    return frozenset().union(*(entry.needs for entry in entries))


def compares_classes(config: StudyConfig) -> bool:
    """Whether an entry needs the extrema of all other classes."""
    needs = needs_of(chosen(config.store))
    return EXTREMA in needs or (MAPS in needs and needs_rivals(config.methods))


def needs_every_class(config: StudyConfig) -> bool:
    """Whether the gradients of all classes are computed."""
    entries = chosen(config.store)
    return compares_classes(config) or any(entry.of_class or entry.of_pair for entry in entries)


def study_cut(
    config: StudyConfig,
    apply_fn: ApplyFn,
    variables: Variables,
    images: Images,
    estimator: Estimator,
) -> Cut | None:
    """Chooses the cut that class gradients are computed through; None for through the scores.

    The choice does not depend on how many devices share an image: every worker makes the same.

    Raises:
      ValueError: "features", and a network or an estimator that they cannot be computed for, see
        `resolve_through`, or an entry that takes the gradients of classes and no others.
    """
    if not needs_every_class(config):
        return None
    by_class = [entry.name for entry in chosen(config.store) if entry.of_class or entry.of_pair]
    others = [entry.name for entry in chosen(config.store) if entry.of_features]
    if alone := sorted({*by_class} - {*others}):
        if config.through == "features":
            raise ValueError(
                'through: expected "scores" or "auto", which what to store needs, got "features": '
                f"{', '.join(alone)}"
            )
        return None
    return choose_cut(
        config.through,
        apply_fn,
        variables,
        images,
        rivals="all",
        output="logits",
        estimator=estimator,
    )
