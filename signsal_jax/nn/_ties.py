"""Finds the convolutions of a program after which positions may still be compared."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.extend.core as jex
from jax.extend.core import primitives

from signsal_jax._rewrite import inner_program, rectifier

# Operations on each position by itself. All others, except the few below, count as comparing
# positions: slices and concatenations, for example, shift positions against each other.
_POINTWISE = frozenset(
    (
        "abs",
        "add",
        "add_any",
        "and",
        "cbrt",
        "ceil",
        "clamp",
        "convert_element_type",
        "copy",
        "cos",
        "cosh",
        "div",
        "eq",
        "erf",
        "erf_inv",
        "erfc",
        "exp",
        "exp2",
        "expm1",
        "floor",
        "ge",
        "gt",
        "integer_pow",
        "is_finite",
        "le",
        "log",
        "log1p",
        "logistic",
        "lt",
        "max",
        "min",
        "mul",
        "name",
        "ne",
        "neg",
        "not",
        "or",
        "pow",
        "rem",
        "round",
        "rsqrt",
        "select_n",
        "sign",
        "sin",
        "sinh",
        "sqrt",
        "square",
        "stop_gradient",
        "sub",
        "tan",
        "tanh",
        "xor",
    )
)
_REDUCTIONS = frozenset(("reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "argmax"))


Axes = tuple[int, ...]


class _Origin(NamedTuple):
    """The convolutions that values come from, and their axes over the positions of an image."""

    convolutions: frozenset[int] = frozenset()
    axes: Axes = ()


def compared_convolutions(program: jex.ClosedJaxpr) -> set[int]:
    """Returns the `id` of each convolution after which the program may compare positions.

    Follows the outputs of each convolution until their positions are summed up. Any operation in
    between that is not known to treat each position by itself counts as a comparison. Results of
    the program that still have positions count as compared, and so do values that are combined
    with their own sum, as in instance normalization.
    """
    compared: set[int] = set()
    none = [_Origin()] * len(program.in_avals)
    for origin in _follow(program.jaxpr, none, compared):
        if origin.axes:
            compared |= origin.convolutions
    return compared


def _follow(program: jex.Jaxpr, inputs: Sequence[_Origin], compared: set[int]) -> list[_Origin]:
    origins: dict[jex.Var, _Origin] = dict(zip(program.invars, inputs, strict=True))

    def of(atom: jex.Var | jex.Literal) -> _Origin:
        return _Origin() if isinstance(atom, jex.Literal) else origins.get(atom, _Origin())

    for equation in program.eqns:
        operands = [of(atom) for atom in equation.invars]
        inner = inner_program(equation)
        if inner is not None:
            results = _follow(inner.jaxpr, operands, compared)
        else:
            results = [_through(equation, operands, compared)] * len(equation.outvars)
        origins |= zip(equation.outvars, results, strict=True)
    return [of(atom) for atom in program.outvars]


def _through(equation: jex.JaxprEqn, operands: Sequence[_Origin], compared: set[int]) -> _Origin:
    """Returns the origin of an operation's results."""
    before = [origin for origin in operands if origin.convolutions]
    convolutions = frozenset().union(*(origin.convolutions for origin in before))
    rule = _RULES.get(equation.primitive.name)
    axes: Axes | None = ()
    if equation.primitive is primitives.conv_general_dilated_p:
        if any(origin.axes for origin in operands[1:]):
            axes = None
        else:
            axes = tuple(sorted(equation.params["dimension_numbers"].out_spec[2:]))
            convolutions |= {id(equation)}
    elif len({origin.axes for origin in before}) > 1:
        axes = None
    elif before and before[0].axes:
        axes = rule(equation, before[0].axes) if rule else None
    if axes is None:
        compared |= convolutions
        return _Origin()
    return _Origin(convolutions, axes)


def _reduced(equation: jex.JaxprEqn, axes: Axes) -> Axes | None:
    gone = equation.params["axes"]
    if equation.primitive.name != "reduce_sum" and {*gone} & {*axes}:
        return None
    return tuple(axis - sum(g < axis for g in gone) for axis in axes if axis not in gone)


def _transposed(equation: jex.JaxprEqn, axes: Axes) -> Axes | None:
    places = tuple(equation.params["permutation"].index(axis) for axis in axes)
    return places if list(places) == sorted(places) else None


def _broadcast(equation: jex.JaxprEqn, axes: Axes) -> Axes:
    return tuple(equation.params["broadcast_dimensions"][axis] for axis in axes)


def _relu(equation: jex.JaxprEqn, axes: Axes) -> Axes | None:
    """Keeps the axes for the known functions with custom derivatives: `jax.nn.relu`, `relu6`."""
    return axes if rectifier(equation) else None


_RULES: dict[str, Callable[[jex.JaxprEqn, Axes], Axes | None]] = {
    **dict.fromkeys(_POINTWISE, lambda _, axes: axes),
    **dict.fromkeys(_REDUCTIONS, _reduced),
    "reduce_window_sum": lambda _, axes: axes,
    "transpose": _transposed,
    "broadcast_in_dim": _broadcast,
    "custom_jvp_call": _relu,
}
