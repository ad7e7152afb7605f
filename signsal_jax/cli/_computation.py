"""The maps of a batch of pictures on all devices, with signs of progress."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from signsal_jax import sharding
from signsal_jax._methods import contrasts_of, needs_rivals
from signsal_jax._types import ClassExtrema, Images, Variables
from signsal_jax.brightness import brightness_maps
from signsal_jax.gradients import Cut, HostedExtrema, HostedFeatures, target_gradient
from signsal_jax.maps import Saliency, maps_from_extrema
from signsal_jax.models import Model

# Classes pulled back between two signs of progress.
_CLASS_CHUNK = 20


def make_mesh(pictures: int, *, one_class: bool) -> Mesh:
    """Makes the mesh for this many pictures.

    As many devices as there are pictures split those. The rest shares the classes of each picture,
    or is left out if only one class is pulled back.
    """
    devices = jax.local_devices()
    if one_class:
        return sharding.make_mesh(devices[: max(1, min(pictures, len(devices)))])
    data = next(
        n for n in range(len(devices), 0, -1) if not len(devices) % n and n <= max(1, pictures)
    )
    return sharding.make_mesh(devices, class_devices=len(devices) // data)


def computation(
    model: Model,
    mesh: Mesh,
    methods: Sequence[str],
    settings: Mapping[str, Any],
    tick: Callable[[int], Any],
    cut: Cut | None = None,
) -> Callable[[np.ndarray], tuple[Saliency, Mapping[str, jax.Array]]]:
    """Returns the function that computes the maps of a batch, and its `brightness_maps`.

    Args:
      model: the network; its weights are copied to the devices once.
      mesh: from `make_mesh`; a batch must be a multiple of its axis `data`.
      methods: the maps.
      settings: of `saliency_maps`: target, rivals, precision, estimator.
      tick: called with the number of backward passes done since.
      cut: that gradients of all classes are computed through; None for through the scores.
    """
    variables = sharding.replicate(mesh, model.variables)
    settings = {**settings, "contrasts": contrasts_of(methods)}

    def maps_of(extrema: ClassExtrema) -> tuple[Saliency, Mapping[str, jax.Array]]:
        return maps_from_extrema(extrema, methods=methods), brightness_maps(extrema)

    if not needs_rivals(methods):
        del settings["rivals"]

        def maps_of_target(variables: Variables, images: Images) -> Any:
            return maps_of(target_gradient(model.apply_fn, variables, images, **settings))

        specs = {"in_specs": (PartitionSpec(), sharding.BY_IMAGE), "out_specs": sharding.BY_IMAGE}
        step = jax.jit(jax.shard_map(maps_of_target, mesh=mesh, **specs))

        def target_alone(images: np.ndarray) -> Any:
            found = step(variables, sharding.place(mesh, images))
            tick(len(images))
            return found

        return target_alone
    settings |= {"class_chunk": _CLASS_CHUNK, "mesh": mesh}
    if cut is None:
        hosted: Any = HostedExtrema(model.apply_fn, **settings)
    else:
        hosted = HostedFeatures(model.apply_fn, cut, **settings)
    maps = jax.jit(maps_of)

    def all_classes(images: np.ndarray) -> Any:
        placed = sharding.place(mesh, images)
        return maps(hosted(variables, placed, lambda done: tick(done * len(images))))

    return all_classes
