"""How relevance passes through operations without weights: an open table by primitive."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import Array

from signsal_jax import _checks
from signsal_jax.gradients._lrp_rules import stabilized

LrpRule = Callable[[Callable[..., Any], Sequence[Array], Any, float], Sequence[Array] | None]
"""A function of the operation, its operands that depend on the images, the relevance of its result
(a list for several results) and epsilon; it returns the relevance of each operand, or None for
operands that it has no answer for."""


def _passed(
    operation: Callable[..., Any], operands: Sequence[Array], relevance: Any, epsilon: float
) -> Sequence[Array] | None:
    """Position by position, of one operand: it has the relevance of the result."""
    return [relevance.astype(operands[0].dtype)] if len(operands) == 1 else None


def _moved(
    operation: Callable[..., Any], operands: Sequence[Array], relevance: Any, epsilon: float
) -> Sequence[Array]:
    """Values are moved, repeated or selected: relevance goes back to where they come from."""
    return jax.vjp(operation, *operands)[1](relevance)


def _shared(
    operation: Callable[..., Any], operands: Sequence[Array], relevance: Any, epsilon: float
) -> Sequence[Array]:
    """A sum: each summand has the relevance of its share."""
    total, pull = jax.vjp(operation, *operands)
    pulled = pull((relevance / stabilized(total, epsilon)).astype(total.dtype))
    return [operand * one for operand, one in zip(operands, pulled, strict=True)]


def _added(
    operation: Callable[..., Any], operands: Sequence[Array], relevance: Any, epsilon: float
) -> Sequence[Array] | None:
    """Activations are summands; a number that does not depend on the images is none."""
    rule = _passed if len(operands) == 1 else _shared
    return rule(operation, operands, relevance, epsilon)


def _largest(
    operation: Callable[..., Any], operands: Sequence[Array], relevance: Any, epsilon: float
) -> Sequence[Array] | None:
    """A comparison with a number is an activation function, one of activations a selection."""
    rule = _passed if len(operands) == 1 else _moved
    return rule(operation, operands, relevance, epsilon)


_TABLE: dict[LrpRule, str] = {
    _passed: "abs div erf logistic mul neg tanh",
    _moved: (
        "broadcast_in_dim concatenate convert_element_type copy copy_p dynamic_slice gather name "
        "optimization_barrier pad pbroadcast pvary reduce_max reduce_precision reduce_window_max "
        "reshape rev select_n slice split squeeze transpose"
    ),
    _shared: "cumsum reduce_sum reduce_window_sum",
    _added: "add add_any sub",
    _largest: "max min",
}
_RULES = {primitive: rule for rule, names in _TABLE.items() for primitive in names.split()}
ACTIVATIONS = (
    *("celu", "elu", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu", "log_sigmoid"),
    *("mish", "relu", "relu6", "selu", "silu", "soft_sign", "softplus", "squareplus"),
)
"""Functions of `jax.nn` that act position by position: relevance passes through unchanged."""
_RULES |= dict.fromkeys(ACTIVATIONS, _passed)
_NAMED: dict[str, LrpRule] = {"passed": _passed, "moved": _moved, "shared": _shared}


def register_lrp_rule(primitive: str, rule: str | LrpRule) -> None:
    """Says how relevance passes back through an operation, for `lrp` from now on.

    Layers with weights (convolutions and matrix products with numbers that do not depend on the
    images) have the rules of LRP and need none of these.

    Args:
      primitive: the name of the JAX primitive, as the error that asks for a rule gives it.
      rule: "passed" for a function that acts position by position, "moved" for one that moves or
        selects values (its pullback), "shared" for a sum (in proportion to the summands); or a
        function `(operation, operands, relevance, epsilon) -> relevance of each operand`, where
        `operation(*operands)` is the result and the operands are those that depend on the images.

    Raises:
      TypeError, ValueError: a primitive that is not a string; a rule that is neither a function nor
        one of these names.

    >>> from signsal_jax import gradients
    >>> gradients.register_lrp_rule("sin", "passed")
    """
    _checks.check_string("primitive", primitive)
    if not callable(rule):
        _checks.check_member("rule", rule, tuple(_NAMED))
        rule = _NAMED[rule]
    _RULES[primitive] = rule


def operation_rule(primitive: str) -> LrpRule | None:
    """The rule of a primitive, or None."""
    return _RULES.get(primitive)
