"""Classifiers as JAX programs (jaxprs): tracing them and applying their operations."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.core
import jax.extend.core as jex
import numpy as np


def trace(function: Callable[..., Any], *args: Any) -> tuple[jex.ClosedJaxpr, Any, list[Any]]:
    """Traces a call: returns the program, the shapes of its results, and its input arrays.

    The inputs are the arrays among the leaves of `args`, or stand-ins for them that have a shape
    and no values (`jax.ShapeDtypeStruct`). All other leaves (functions, plain numbers that shapes
    depend on) become part of the program and act as in an ordinary call.
    """
    leaves, tree = jax.tree.flatten(args)
    places = [
        place
        for place, leaf in enumerate(leaves)
        if isinstance(leaf, jax.Array | np.ndarray | jax.ShapeDtypeStruct)
    ]

    def call(arrays: list[Any]) -> Any:
        whole = list(leaves)
        for place, array in zip(places, arrays, strict=True):
            whole[place] = array
        return function(*jax.tree.unflatten(tree, whole))

    arrays = [leaves[place] for place in places]
    program, shapes = jax.make_jaxpr(call, return_shape=True)(arrays)
    return program, shapes, arrays


def run_once(function: Callable[..., Any], *args: Any) -> Any:
    """`function(*args)`, compiled outside `jax.jit` for this call alone; inside, as it stands.

    Outside, JAX compiles every scan, map and conditional and keeps it in a cache whose key is its
    program. That of a closure made anew is always another: each call would add megabytes that
    nothing ever uses again. A function passed to `jax.jit` takes what was compiled for it along
    when it goes, and only the code for the platform at hand is compiled at all.

    What `function` closes over (weights, residuals) becomes an argument of the program too, so
    XLA computes with it as it does without `run_once` and doesn't fold it into constants.

    Args:
      function: takes and returns pytrees of arrays.
      *args: its arguments.
    """
    traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(args))
    config: Any = jax.config
    if traced or config.jax_disable_jit:
        return function(*args)
    program, shapes, arrays = trace(function, *args)

    def run(consts: list[Any], arrays: list[Any]) -> list[Any]:
        return jex.jaxpr_as_fun(jex.ClosedJaxpr(program.jaxpr, consts))(*arrays)

    results = jax.jit(run)(program.consts, arrays)
    return jax.tree.unflatten(jax.tree.structure(shapes), results)


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
