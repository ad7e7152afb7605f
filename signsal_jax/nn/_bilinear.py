"""Convolution as three bilinear maps, each of which is the others' transpose.

The sum `<cotangent, images * kernel>` is linear in each of the three. Leaving out one of them
gives a bilinear map of the other two: to the outputs (convolution), to the images and to the
kernel (its pullbacks). Each map is linear in each operand, so its JVP uses the same map, and its
transposes are the other two. So the three primitives are closed under differentiation, forward and
reverse, and each has its own fastest form instead of a transpose of another.

Unlike a transpose of a linear program, a form may also inspect the values of its operands.
Winograd's does, to keep zeros exact.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from signsal_jax.nn import _choice, _own
from signsal_jax.nn._own import Geometry

outputs_p = Primitive("conv2d")  # images, kernel
images_p = Primitive("conv2d_to_images")  # cotangent, kernel
kernel_p = Primitive("conv2d_to_kernel")  # images, cotangent


@functools.partial(jax.jit, static_argnames=("primitive", "geometry"))
def _outside_jit(left: Array, right: Array, *, primitive: Primitive, geometry: Geometry) -> Array:
    return primitive.bind(left, right, geometry=geometry)


def _type(own: Callable[..., Array], left: Any, right: Any, *, geometry: Geometry) -> Any:
    shapes = [jax.ShapeDtypeStruct(operand.shape, operand.dtype) for operand in (left, right)]
    result = jax.eval_shape(functools.partial(own, geometry=geometry), *shapes)
    return left.update(shape=result.shape, weak_type=False)


def _on_cpu(left: Array, right: Array, *, geometry: Geometry, name: str) -> Array:
    features = (left if name == "images" else right).shape[-1]
    forms = _choice.forms(geometry, batch=left.shape[0], features=features, dtype=left.dtype)
    form = getattr(forms, name) or functools.partial(getattr(_own, name), geometry=geometry)
    return form(left, right)


def _mapped(
    primitive: Primitive, operands: tuple, axes: tuple, *, geometry: Geometry
) -> tuple[Array, int]:
    """Batches over images that share one kernel, as one larger batch of images."""
    left = jnp.moveaxis(operands[0], axes[0], 0)
    whole = left.reshape(left.shape[0] * left.shape[1], *left.shape[2:])
    result = primitive.bind(whole, operands[1], geometry=geometry)
    return result.reshape(*left.shape[:2], *result.shape[1:]), 0


def _mapped_kernels(
    own: Callable[..., Array], operands: tuple, axes: tuple, *, geometry: Geometry
) -> tuple[Array, int]:
    return jax.vmap(functools.partial(own, geometry=geometry), axes)(*operands), 0


def _define(primitive: Primitive, name: str) -> None:
    own = getattr(_own, name)

    def batch(operands: tuple, axes: tuple, **settings: Any) -> tuple[Array, int]:
        if primitive is not kernel_p and axes[1] is None:
            return _mapped(primitive, operands, axes, **settings)
        return _mapped_kernels(own, operands, axes, **settings)

    primitive.def_impl(functools.partial(_outside_jit, primitive=primitive))
    primitive.def_abstract_eval(functools.partial(_type, own))
    batching.primitive_batchers[primitive] = batch
    mlir.register_lowering(primitive, mlir.lower_fun(own, multiple_results=False))
    on_cpu = functools.partial(_on_cpu, name=name)
    mlir.register_lowering(
        primitive, mlir.lower_fun(on_cpu, multiple_results=False), platform="cpu"
    )


_define(outputs_p, "outputs")
_define(images_p, "images")
_define(kernel_p, "kernel")

# The transposes of each map in its left and in its right operand.
ad.defbilinear(
    outputs_p,
    lambda cotangent, images, kernel, **settings: images_p.bind(cotangent, kernel, **settings),
    lambda cotangent, images, kernel, **settings: kernel_p.bind(images, cotangent, **settings),
)
ad.defbilinear(
    images_p,
    lambda images, cotangent, kernel, **settings: outputs_p.bind(images, kernel, **settings),
    lambda images, cotangent, kernel, **settings: kernel_p.bind(images, cotangent, **settings),
)
ad.defbilinear(
    kernel_p,
    lambda kernel, images, cotangent, **settings: images_p.bind(cotangent, kernel, **settings),
    lambda kernel, images, cotangent, **settings: outputs_p.bind(images, kernel, **settings),
)
