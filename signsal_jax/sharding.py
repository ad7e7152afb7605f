"""Images and classes split over devices: the mesh, placement, padding."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Bool, Float, Int

from signsal_jax._vma import varying_over

AXES = ("data", "class")
BY_IMAGE = PartitionSpec("data")


def make_mesh(devices: Sequence[Any] | None = None, *, class_devices: int = 1) -> Mesh:
    """Makes a mesh with the axes `data` (images) and `class` (classes of one image).

    Args:
      devices: the devices to use; None for all of this process. Pass `jax.devices()` for one
        mesh over all processes.
      class_devices: the number of devices that share the classes of an image; must divide the
        number of devices. More than 1 helps with many classes and few images per device.

    Returns:
      A mesh of shape `[devices / class_devices, class_devices]`.

    Raises:
      ValueError: class_devices that does not divide the number of devices.

    >>> from signsal_jax import sharding
    >>> sharding.make_mesh(jax.devices()[:1]).shape["class"]
    1
    """
    devices = jax.local_devices() if devices is None else list(devices)
    if class_devices < 1 or len(devices) % class_devices:
        raise ValueError(
            f"class_devices: expected a divisor of {len(devices)} devices, got {class_devices}"
        )
    return Mesh(np.asarray(devices).reshape(-1, class_devices), AXES)


def pad(
    array: Float[np.ndarray, " n *rest"] | Int[np.ndarray, " n *rest"], size: int
) -> tuple[np.ndarray, Bool[np.ndarray, " size"]]:
    """Appends zeros along axis 0 up to `size`; the mask is true where a row is real.

    Raises:
      ValueError: more rows than `size`.

    >>> from signsal_jax import sharding
    >>> sharding.pad(np.asarray([1.0, 2.0]), 3)[1].tolist()
    [True, True, False]
    """
    if len(array) > size:
        raise ValueError(f"array: expected at most {size} rows, got {len(array)}")
    padded = np.pad(array, ((0, size - len(array)), *[(0, 0)] * (array.ndim - 1)))
    return padded, np.arange(size) < len(array)


def place(mesh: Mesh, local: np.ndarray) -> Array:
    """Builds a global array, sharded over `data`, from this process's own rows.

    Args:
      mesh: from `make_mesh`; over several processes, each passes only its own rows, in the
        order of the mesh.
      local: `[n, ...]`; n must be a multiple of this process's devices along `data`.

    >>> from signsal_jax import sharding
    >>> mesh = sharding.make_mesh(jax.devices()[:1])
    >>> sharding.place(mesh, np.zeros((2, 3), np.float32)).shape
    (2, 3)
    """
    return jax.make_array_from_process_local_data(NamedSharding(mesh, BY_IMAGE), local)


def replicate(mesh: Mesh, tree: Any) -> Any:
    """Copies a pytree of arrays, such as the weights, to every device of the mesh."""
    sharding = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(
        lambda leaf: jax.make_array_from_process_local_data(sharding, np.asarray(leaf)), tree
    )


def own_classes(num_classes: int, class_chunk: int | None) -> Int[Array, "n chunk"]:
    """Inside `shard_map`: the classes of this device along `class`, in chunks.

    Every device gets the same number. Indices from `num_classes` on are padding: their one-hot
    cotangents, and so their gradients, are zero.
    """
    share = -(-num_classes // jax.lax.axis_size("class"))
    chunk = min(class_chunk or share, share)
    offsets = jnp.arange(-(-share // chunk) * chunk, dtype=jnp.int32)
    classes = jax.lax.axis_index("class") * share + offsets
    return jnp.where(offsets < share, classes, num_classes).reshape(-1, chunk)


def spread_over_classes(images: Array) -> Array:
    """Inside `shard_map`: marks images as differing between devices along `class`."""
    return varying_over(images, "class")


def from_first(values: Array, axis: str) -> Array:
    """Inside `shard_map`: gives all devices along `axis` the values of the first one.

    For values that are equal on all of them, which JAX cannot know; NaN stays NaN.
    """
    first = jax.lax.axis_index(axis) == 0
    return jax.lax.psum(jnp.where(first, values, 0), axis)
