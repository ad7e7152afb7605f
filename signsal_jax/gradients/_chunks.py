"""Chunks of classes that are pulled back together, and their size."""

import math
from collections.abc import Iterator
from typing import Any

import jax.extend.core as jex
import jax.numpy as jnp
from jax import Array, export
from jaxtyping import Int

from signsal_jax import _checks, _image_checks
from signsal_jax._jaxpr import inner_programs, trace
from signsal_jax._types import ApplyFn, Images, Variables

# The memory that pullbacks may take with class_chunk="auto". A pullback holds about two arrays of
# the network's largest size per class: the cotangents of an operation's output and of its input.
AUTO_BYTES = 2**30
_ARRAYS_HELD = 2


def resolve_chunk(
    class_chunk: Any, apply_fn: ApplyFn, variables: Variables, images: Images
) -> int | None:
    """Returns the requested chunk size; "auto" is resolved from the sizes of the network's arrays.

    Raises:
      TypeError, ValueError: not None, "auto" or a positive integer.
    """
    _checks.check_class_chunk(class_chunk, auto=True)
    if isinstance(class_chunk, str):
        _checks.check_classifier(apply_fn)
        _image_checks.check_image_batch(images)
        program, _, _ = trace(apply_fn, variables, images)
        sizes = list(_array_bytes(program.jaxpr))
        if any(map(export.is_symbolic_dim, sizes)):
            return 1  # the batch may be of any size
        return max(1, AUTO_BYTES // (_ARRAYS_HELD * max(sizes, default=1)))
    return class_chunk


def _array_bytes(program: jex.Jaxpr) -> Iterator[Any]:
    """Yields the bytes of each array that an operation creates; symbolic if a dimension is."""
    for equation in program.eqns:
        for value in equation.outvars:
            aval: Any = value.aval
            if hasattr(aval, "shape"):
                yield math.prod(aval.shape) * aval.dtype.itemsize
        for inner in inner_programs(equation):
            yield from _array_bytes(inner)


def in_chunks(
    classes: Int[Array, " m *b"], class_chunk: int | None, *, padding: int, multiple: int = 1
) -> Int[Array, " n chunk *b"]:
    """Splits classes into the fewest equal chunks of at most `class_chunk`, padded at the end.

    The size of a chunk is rounded up to a multiple of `multiple`.
    """
    count = -(-len(classes) // (class_chunk or len(classes)))
    chunk = -(-len(classes) // count)
    chunk = -(-chunk // multiple) * multiple
    count = -(-len(classes) // chunk)
    missing = [(0, count * chunk - len(classes))] + [(0, 0)] * (classes.ndim - 1)
    padded = jnp.pad(classes, missing, constant_values=padding)
    return padded.reshape(count, chunk, *classes.shape[1:])
