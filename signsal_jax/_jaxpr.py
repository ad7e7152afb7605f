"""Classifiers as JAX programs (jaxprs): tracing them and applying their operations."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.extend.core as jex
import numpy as np


def trace(function: Callable[..., Any], *args: Any) -> tuple[jex.ClosedJaxpr, Any, list[Any]]:
    """Traces a call: returns the program, the shapes of its results, and its input arrays.

    The inputs are the arrays among the leaves of `args`. All other leaves (functions, plain numbers
    that shapes depend on) become part of the program and act as in an ordinary call.
    """
    leaves, tree = jax.tree.flatten(args)
    places = [
        place for place, leaf in enumerate(leaves) if isinstance(leaf, jax.Array | np.ndarray)
    ]

    def call(arrays: list[Any]) -> Any:
        whole = list(leaves)
        for place, array in zip(places, arrays, strict=True):
            whole[place] = array
        return function(*jax.tree.unflatten(tree, whole))

    arrays = [leaves[place] for place in places]
    program, shapes = jax.make_jaxpr(call, return_shape=True)(arrays)
    return program, shapes, arrays


def bind(equation: jex.JaxprEqn, *operands: Any) -> Any:
    """Applies an operation of a program to other operands."""
    primitive: Any = equation.primitive
    params = primitive.get_bind_params(equation.params)
    if isinstance(params, tuple):  # before JAX 0.9
        functions, params = params
        return primitive.bind(*functions, *operands, **params)
    return primitive.bind(*operands, **params)


def inner_programs(equation: jex.JaxprEqn) -> Iterator[jex.Jaxpr]:
    """Yields the programs among an operation's parameters, such as a loop's body."""
    for value in equation.params.values():
        for item in value if isinstance(value, tuple | list) else [value]:
            if isinstance(item, jex.ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, jex.Jaxpr):
                yield item
