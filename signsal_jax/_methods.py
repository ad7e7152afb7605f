"""The names of the maps, and what each needs to be computed."""

from collections.abc import Sequence

from signsal_jax import _checks
from signsal_jax.gradients import CONTRASTS, Estimator, has_sign, require_linear

METHODS = ("vanilla", "positive", "negative", "active", "inactive")
COMPARATIVE_METHODS = ("active", "inactive")
MARGIN_METHODS = ("active_margin", "inactive_margin")
_PARTS = {"": "vanilla", "_positive": "positive", "_negative": "negative"}
_CONTRASTS_OF = {
    f"{against}_contrast{suffix}": (against, part)
    for against in CONTRASTS
    for suffix, part in _PARTS.items()
}
CONTRAST_METHODS = tuple(_CONTRASTS_OF)
ALL_METHODS = METHODS + MARGIN_METHODS + CONTRAST_METHODS


def needs_rivals(methods: Sequence[str]) -> bool:
    """Whether any of these maps compares with the gradients of the other classes, one by one."""
    return not {*methods}.isdisjoint(COMPARATIVE_METHODS + MARGIN_METHODS)


def contrast_and_part(method: str) -> tuple[str, str]:
    """Returns which contrast a method of `CONTRAST_METHODS` is of, and the part that it keeps."""
    return _CONTRASTS_OF[method]


def contrasts_of(methods: Sequence[str]) -> tuple[str, ...]:
    """Returns the contrasts that these maps are made of, each once."""
    return tuple(
        dict.fromkeys(_CONTRASTS_OF[method][0] for method in methods if method in _CONTRASTS_OF)
    )


def check_maps(methods: Sequence[str], estimator: Estimator) -> tuple[str, ...]:
    """Returns the methods as a tuple.

    Raises:
      TypeError, ValueError: unknown or repeated methods; a map that is chosen by sign of an
        estimator without sign, or a contrast of one that is not linear in the class scores.
    """
    methods = _checks.check_methods(methods, ALL_METHODS)
    if not has_sign(estimator):
        for method in methods:
            if method != "vanilla":
                raise ValueError(
                    f"methods: expected vanilla alone with {estimator.name}, whose values have no "
                    f"sign, got {method}"
                )
    if contrasts_of(methods):
        require_linear(estimator, "a contrast")
    return methods
