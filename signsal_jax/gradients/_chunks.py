"""How many classes are pulled back at a time."""

import math
from collections.abc import Iterator
from typing import Any

import jax.extend.core as jex
import jax.numpy as jnp
from jax import Array, export
from jaxtyping import Int

from signsal_jax import _checks
from signsal_jax._jaxpr import trace
from signsal_jax._types import ApplyFn, Images, Variables

# What the gradients on their way back may take with class_chunk="auto". A pullback holds about two
# of the network's largest arrays a class: what came in and what goes out.
AUTO_BYTES = 2**30
_ARRAYS_HELD = 2


def resolve_chunk(
    class_chunk: Any, apply_fn: ApplyFn, variables: Variables, images: Images
) -> int | None:
    """The number that is asked for, found from the network's arrays for "auto".

    Raises:
      TypeError, ValueError: not None, "auto" or a positive integer.
    """
    _checks.check_class_chunk(class_chunk, auto=True)
    if isinstance(class_chunk, str):
        _checks.check_classifier(apply_fn)
        _checks.check_image_batch(images)
        program, _, _ = trace(apply_fn, variables, images)
        sizes = list(_array_bytes(program.jaxpr))
        if any(map(export.is_symbolic_dim, sizes)):
            return 1  # the batch may be of any size
        return max(1, AUTO_BYTES // (_ARRAYS_HELD * max(sizes, default=1)))
    return class_chunk


def _array_bytes(program: jex.Jaxpr) -> Iterator[Any]:
    """The size of every array that an operation makes; symbolic where a dimension is."""
    for equation in program.eqns:
        for value in equation.outvars:
            aval: Any = value.aval
            if hasattr(aval, "shape"):
                yield math.prod(aval.shape) * aval.dtype.itemsize
        for inner in jex.jaxprs_in_params(equation.params):
            yield from _array_bytes(inner)


def in_chunks(
    classes: Int[Array, " m *b"], class_chunk: int | None, *, padding: int
) -> Int[Array, " n chunk *b"]:
    """The fewest chunks that hold at most `class_chunk` classes each, all equally long."""
    count = -(-len(classes) // (class_chunk or len(classes)))
    chunk = -(-len(classes) // count)
    missing = [(0, count * chunk - len(classes))] + [(0, 0)] * (classes.ndim - 1)
    padded = jnp.pad(classes, missing, constant_values=padding)
    return padded.reshape(count, chunk, *classes.shape[1:])
