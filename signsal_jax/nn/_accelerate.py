"""Gives any classifier the zoo's fast convolutions and pooling, without a change to its code."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.extend.core import primitives

from signsal_jax._jaxpr import trace
from signsal_jax._rewrite import Operation, Rules, evaluate, own
from signsal_jax._types import ApplyFn
from signsal_jax.nn import _layers
from signsal_jax.nn._ties import compared_convolutions

Pairs = Sequence[tuple[int, int]]


def accelerate(apply_fn: ApplyFn) -> ApplyFn:
    """Returns the same classifier with fast convolutions and max-pooling on CPU.

    Traces `apply_fn` and evaluates the trace with the convolution and max-pooling of
    `signsal_jax.nn` in place of JAX's own, which Flax, Haiku and Equinox call, in any layout.
    On CPU the forward pass gets faster, and the backward pass several times faster. On TPU and GPU
    nothing changes. Not replaced: dilated and non-square convolutions, and operations inside
    `jax.lax.scan`, `cond`, `while_loop` or functions with custom derivatives.

    Exact zeros and ties stay exact: a window of zeros gives zero, at one position equal windows
    give equal bits, and so do equal windows at different positions unless the program shows that
    nothing compares positions (a max-pool, an argmax) before they are averaged.

    Args:
      apply_fn: `apply_fn(variables, images) -> logits`, see `signsal_jax.ApplyFn`.

    Returns:
      A classifier with the same values and derivatives, up to rounding; keyword arguments
      (`train=False`) are passed on. Call it inside jit: otherwise it is traced at every call.

    Raises:
      TypeError: not callable.

    >>> import jax, jax.numpy as jnp, signsal_jax
    >>> def apply_fn(kernel, images):
    ...     return jax.lax.conv(images, kernel, (1, 1), "SAME").sum((2, 3))
    >>> fast = signsal_jax.accelerate(apply_fn)
    >>> float(fast(jnp.ones((2, 3, 3, 3)), jnp.ones((1, 3, 8, 8)))[0, 0])
    1452.0
    """
    if not callable(apply_fn):
        raise TypeError(f"apply_fn: expected a function, got {type(apply_fn).__name__}")

    @functools.wraps(apply_fn)
    def accelerated(variables: Any, images: Any, /, **settings: Any) -> Array:
        function = functools.partial(apply_fn, **settings)
        program, shapes, arrays = trace(function, variables, images)
        rules: Rules = {
            primitives.conv_general_dilated_p: functools.partial(
                _convolution, compared_convolutions(program)
            ),
            primitives.reduce_window_max_p: _max_pool,
        }
        outputs = evaluate(rules, program.jaxpr, program.consts, *arrays)
        return jax.tree.unflatten(jax.tree.structure(shapes), outputs)

    return accelerated


def _types(equation: jex.JaxprEqn) -> list[Any]:
    """Returns the shapes and dtypes of the operands and results."""
    return [atom.aval for atom in (*equation.invars, *equation.outvars)]


def _on_cpu(equation: jex.JaxprEqn, fast: Operation) -> Operation:
    return functools.partial(jax.lax.platform_dependent, cpu=fast, default=own(equation))


def _convolution(compared: set[int], equation: jex.JaxprEqn) -> Operation | None:
    params, (_, kernel, outputs) = equation.params, _types(equation)
    images_axes, kernel_axes, outputs_axes = params["dimension_numbers"]
    strides = params["window_strides"]
    if (
        len(strides) != 2
        or strides[0] != strides[1]
        or kernel.shape[kernel_axes[2]] != kernel.shape[kernel_axes[3]]
        or {*params["lhs_dilation"], *params["rhs_dilation"], params["batch_group_count"]} != {1}
        or params["preferred_element_type"] is not None
        or 0 in outputs.shape
    ):
        return None

    def convolve(images: Array, kernel: Array) -> Array:
        images = images.transpose([images_axes[axis] for axis in (0, 2, 3, 1)])
        kernel = kernel.transpose([kernel_axes[axis] for axis in (2, 3, 1, 0)])
        images, padding = _padded(images, _padding(params))
        outputs = _layers.conv2d(
            images,
            kernel,
            strides=strides[0],
            padding=padding,
            groups=params["feature_group_count"],
            exact_ties=id(equation) in compared,
        )
        return outputs.transpose(np.argsort([outputs_axes[axis] for axis in (0, 2, 3, 1)]))

    return _on_cpu(equation, convolve)


def _max_pool(equation: jex.JaxprEqn) -> Operation | None:
    params, (images, outputs) = equation.params, _types(equation)
    window, strides = params["window_dimensions"], params["window_strides"]
    spatial = [axis for axis, size in enumerate(window) if size > 1]
    if (
        len(window) != 4
        or len(spatial) != 2
        or not jnp.issubdtype(images.dtype, jnp.floating)
        or len({window[axis] for axis in spatial}) != 1
        or len({strides[axis] for axis in spatial}) != 1
        or {*params["base_dilation"], *params["window_dilation"]} != {1}
        or 0 in outputs.shape
    ):
        return None
    others = [axis for axis in range(4) if axis not in spatial]
    if any(strides[axis] != 1 or _padding(params)[axis] != (0, 0) for axis in others):
        return None
    order = (others[0], *spatial, others[1])

    def pool(images: Array) -> Array:
        rows, columns = (_padding(params)[axis] for axis in spatial)
        size, step = window[spatial[0]], strides[spatial[0]]
        outputs = _layers.padded_max_pool(images.transpose(order), size, step, (rows, columns))
        return outputs.transpose(np.argsort(order))

    return _on_cpu(equation, pool)


def _padding(params: dict[str, Any]) -> list[tuple[int, int]]:
    """The padding per axis; before JAX 0.9 it consists of NumPy's integers."""
    return [(int(low), int(high)) for low, high in params["padding"]]


def _padded(images: Array, pads: Pairs) -> tuple[Array, int]:
    """Pads images unless all sides are alike: returns `[b, h, w, c]` and the padding left to do."""
    sides = {side for pair in pads for side in pair}
    if len(sides) == 1 and min(sides) >= 0:
        return images, sides.pop()
    edges = [(0, 0, 0), *((low, high, 0) for low, high in pads), (0, 0, 0)]
    return jax.lax.pad(images, jnp.zeros((), images.dtype), edges), 0
