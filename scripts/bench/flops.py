"""Counts the floating-point operations that a network needs, however they are lowered."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend import core


def _convolution(eqn: Any) -> int:
    """Two per kernel tap and output: the direct convolution, padding included."""
    _, kernel = (var.aval.shape for var in eqn.invars)
    features = kernel[eqn.params["dimension_numbers"].rhs_spec[0]]
    return 2 * math.prod(eqn.outvars[0].aval.shape) * math.prod(kernel) // features


def _own_convolution(eqn: Any) -> int:
    """The same for the convolution of `signsal_jax.nn`, whose kernel has its features last."""
    _, kernel = (var.aval.shape for var in eqn.invars)
    return 2 * math.prod(eqn.outvars[0].aval.shape) * math.prod(kernel[:-1])


def _product(eqn: Any) -> int:
    (contracted, _), _ = eqn.params["dimension_numbers"]
    left = eqn.invars[0].aval.shape
    return 2 * math.prod(eqn.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)


_COUNTS = {
    "conv_general_dilated": _convolution,
    "conv2d": _own_convolution,
    "dot_general": _product,
}


def _sub_jaxprs(value: Any) -> Iterator[Any]:
    if isinstance(value, core.ClosedJaxpr):
        yield value.jaxpr
    elif isinstance(value, core.Jaxpr):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _sub_jaxprs(part)


def _walk(jaxpr: Any) -> Iterator[int]:
    # A switch over platforms has a default branch with XLA's own operation. That one is the
    # definition; the other branches are ways to compute it.
    platforms = {
        eqn.outvars[0]: eqn.params["platforms"]
        for eqn in jaxpr.eqns
        if eqn.primitive.name == "platform_index"
    }
    for eqn in jaxpr.eqns:
        name = eqn.primitive.name
        if name in _COUNTS:
            yield _COUNTS[name](eqn)
        elif name == "cond" and eqn.invars[0] in platforms:
            default = platforms[eqn.invars[0]].index(None)
            yield from _walk(eqn.params["branches"][default].jaxpr)
        elif name in ("cond", "while", "scan"):
            raise NotImplementedError(f"expected a network without control flow, got {name}")
        else:
            for value in eqn.params.values():
                for sub in _sub_jaxprs(value):
                    yield from _walk(sub)


def layer_flops(fn: Callable[..., Any], *args: Any) -> list[int]:
    """The operations of every convolution and matrix product of `fn(*args)`, in order.

    >>> import jax.numpy as jnp
    >>> layer_flops(jnp.matmul, jnp.zeros((2, 3)), jnp.zeros((3, 5)))
    [60]
    """
    return list(_walk(jax.make_jaxpr(fn)(*args).jaxpr))


def jacobian_flops(layers: list[int], classes: int) -> int:
    """One forward pass, and one pullback per class, with as many operations as the forward."""
    return sum(layers) * (1 + classes)


def deletion_flops(layers: list[int], curves: int, fractions: int) -> int:
    """The untouched image once, then every curve's fractions above zero."""
    return sum(layers) * (1 + curves * fractions)


def training_flops(layers: list[int]) -> int:
    """Forward, gradients of the weights, and of every layer's input but the first's."""
    return 3 * sum(layers) - layers[0]
