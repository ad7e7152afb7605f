"""Any classifier with the zoo's fast convolutions and pooling, without a change to its code."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.extend.core import primitives

from signsal_jax._jaxpr import bind, trace
from signsal_jax._types import ApplyFn
from signsal_jax.nn import _layers

Operation = Callable[..., Any]
Pairs = Sequence[tuple[int, int]]


def accelerate(apply_fn: ApplyFn) -> ApplyFn:
    """The same classifier with fast convolutions and max-pooling on CPU.

    Traces `apply_fn` and evaluates what it does with `signsal_jax.nn`'s convolution and
    max-pooling in the place of JAX's own, as Flax, Haiku and Equinox call them, in any layout.
    Those are exact, and on CPU faster forwards and several times faster backwards. On TPU and
    GPU everything stays as it was. Left as they are: dilated and non-square convolutions, and
    what is inside `jax.lax.scan`, `cond`, `while_loop` or functions with derivatives of their own.

    Args:
      apply_fn: `apply_fn(variables, images) -> logits`, see `signsal_jax.ApplyFn`.

    Returns:
      A classifier with the same values and derivatives, up to rounding; keyword arguments
      (`train=False`) are handed on. Jit what calls it: outside of jit it is traced at every call.

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
        outputs = _evaluate(program.jaxpr, program.consts, *arrays)
        return jax.tree.unflatten(jax.tree.structure(shapes), outputs)

    return accelerated


def _evaluate(program: jex.Jaxpr, consts: Sequence[Any], *args: Any) -> list[Any]:
    values: dict[jex.Var, Any] = dict(zip(program.constvars, consts, strict=True))
    values |= zip(program.invars, args, strict=True)
    for equation in program.eqns:
        operands = [
            atom.val if isinstance(atom, jex.Literal) else values[atom] for atom in equation.invars
        ]
        # The settings that were around the operation when it was traced.
        with equation.ctx.manager:
            results = _operation(equation)(*operands)
        if not equation.primitive.multiple_results:
            results = [results]
        values |= zip(equation.outvars, results, strict=True)
    return [atom.val if isinstance(atom, jex.Literal) else values[atom] for atom in program.outvars]


def _operation(equation: jex.JaxprEqn) -> Operation:
    """What to call in the place of an operation: itself, if there is nothing faster."""
    primitive, params = equation.primitive, equation.params
    own = functools.partial(bind, equation)
    if primitive is primitives.jit_p:
        return functools.partial(_evaluate, params["jaxpr"].jaxpr, params["jaxpr"].consts)
    if primitive.name == "checkpoint":
        inner = functools.partial(_evaluate, params["jaxpr"], ())
        return jax.checkpoint(inner, prevent_cse=params["prevent_cse"], policy=params["policy"])
    shaped: list[Any] = [atom.aval for atom in (*equation.invars, *equation.outvars)]
    fast = None
    if primitive is primitives.conv_general_dilated_p:
        fast = _convolution(params, shaped[1].shape)
    elif primitive is primitives.reduce_window_max_p:
        fast = _max_pool(params, shaped[0].dtype, shaped[-1].shape)
    if fast is None:
        return own
    return functools.partial(jax.lax.platform_dependent, cpu=fast, default=own)


def _convolution(params: dict[str, Any], kernel_shape: tuple[int, ...]) -> Operation | None:
    images_axes, kernel_axes, outputs_axes = params["dimension_numbers"]
    strides = params["window_strides"]
    if (
        len(strides) != 2
        or strides[0] != strides[1]
        or kernel_shape[kernel_axes[2]] != kernel_shape[kernel_axes[3]]
        or {*params["lhs_dilation"], *params["rhs_dilation"], params["batch_group_count"]} != {1}
        or params["preferred_element_type"] is not None
    ):
        return None

    def convolve(images: Array, kernel: Array) -> Array:
        images = images.transpose([images_axes[axis] for axis in (0, 2, 3, 1)])
        kernel = kernel.transpose([kernel_axes[axis] for axis in (2, 3, 1, 0)])
        images, padding = _padded(images, params["padding"], 0.0)
        outputs = _layers.conv2d(
            images,
            kernel,
            strides=strides[0],
            padding=padding,
            groups=params["feature_group_count"],
        )
        return outputs.transpose(np.argsort([outputs_axes[axis] for axis in (0, 2, 3, 1)]))

    return convolve


def _max_pool(params: dict[str, Any], dtype: Any, outputs: tuple[int, ...]) -> Operation | None:
    window, strides = params["window_dimensions"], params["window_strides"]
    spatial = [axis for axis, size in enumerate(window) if size > 1]
    if (
        len(window) != 4
        or len(spatial) != 2
        or not jnp.issubdtype(dtype, jnp.floating)
        or len({window[axis] for axis in spatial}) != 1
        or len({strides[axis] for axis in spatial}) != 1
        or {*params["base_dilation"], *params["window_dilation"]} != {1}
        or 0 in outputs
    ):
        return None
    others = [axis for axis in range(4) if axis not in spatial]
    if any(strides[axis] != 1 or params["padding"][axis] != (0, 0) for axis in others):
        return None
    order = (others[0], *spatial, others[1])

    def pool(images: Array) -> Array:
        rows, columns = (tuple(params["padding"][axis]) for axis in spatial)
        size, step = window[spatial[0]], strides[spatial[0]]
        outputs = _layers.padded_max_pool(images.transpose(order), size, step, (rows, columns))
        return outputs.transpose(np.argsort(order))

    return pool


def _padded(images: Array, pads: Pairs, fill: float) -> tuple[Array, int]:
    """Images `[b, h, w, c]` and what padding is left to do: the same on every side, or none."""
    sides = {side for pair in pads for side in pair}
    if len(sides) == 1 and min(sides) >= 0:
        return images, sides.pop()
    edges = [(0, 0, 0), *((low, high, 0) for low, high in pads), (0, 0, 0)]
    return jax.lax.pad(images, jnp.asarray(fill, images.dtype), edges), 0
