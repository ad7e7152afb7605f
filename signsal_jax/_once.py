"""A compiled program that is forgotten once it has run."""

from collections.abc import Callable
from typing import Any

import jax
import jax.extend.core as jex

from signsal_jax._jaxpr import trace


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
    if traced or jax.config.jax_disable_jit:
        return function(*args)
    program, shapes, arrays = trace(function, *args)

    def run(consts: list[Any], arrays: list[Any]) -> list[Any]:
        return jex.jaxpr_as_fun(jex.ClosedJaxpr(program.jaxpr, consts))(*arrays)

    results = jax.jit(run)(program.consts, arrays)
    return jax.tree.unflatten(jax.tree.structure(shapes), results)
