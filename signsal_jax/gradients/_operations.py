"""Counts of the operations in a classifier's program, whatever they are lowered to."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax.extend.core as jex

from signsal_jax._jaxpr import inner_programs


def count_operations(equations: Iterable[jex.JaxprEqn]) -> int:
    """Counts multiplications and additions; any other operation counts one per output element.

    The body of a scan counts once per iteration, that of a `while_loop` once; of a conditional,
    the most expensive branch.

    >>> import jax, jax.numpy as jnp
    >>> program = jax.make_jaxpr(jnp.matmul)(jnp.ones((2, 3)), jnp.ones((3, 5)))
    >>> count_operations(program.jaxpr.eqns)
    60
    """
    return sum(map(_count, equations))


def _count(equation: jex.JaxprEqn) -> int:
    name = equation.primitive.name
    if name in _PRODUCTS:
        return _PRODUCTS[name](equation)
    inner = [count_operations(program.eqns) for program in inner_programs(equation)]
    if not inner:
        return sum(math.prod(_shape(outvar)) for outvar in equation.outvars)
    if name == "cond":
        return max(inner)
    return sum(inner) * equation.params.get("length", 1)


def _shape(atom: Any) -> tuple[int, ...]:
    return getattr(atom.aval, "shape", ())


def _product(equation: jex.JaxprEqn) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = _shape(equation.invars[0])
    return 2 * math.prod(_shape(equation.outvars[0])) * math.prod(left[axis] for axis in contracted)


def _convolution(equation: jex.JaxprEqn) -> int:
    kernel = _shape(equation.invars[1])
    features = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
    return 2 * math.prod(_shape(equation.outvars[0])) * math.prod(kernel) // features


def _own_convolution(equation: jex.JaxprEqn) -> int:
    kernel = _shape(equation.invars[1])
    return 2 * math.prod(_shape(equation.outvars[0])) * math.prod(kernel[:-1])


_PRODUCTS: Mapping[str, Callable[[jex.JaxprEqn], int]] = {
    "dot_general": _product,
    "conv_general_dilated": _convolution,
    "conv2d": _own_convolution,
}
