"""Compilation of a study's step for a TPU pod, without the pod."""

import dataclasses
import functools
import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.experimental import topologies
from jax.sharding import NamedSharding, PartitionSpec

from signsal_jax import sharding
from signsal_jax._types import ApplyFn, Variables
from signsal_jax.gradients import Cut
from signsal_jax.models import from_nnx
from signsal_jax.models.registry import create_backbone, image_size
from signsal_jax.plan._chips import CHIPS, Chip
from signsal_jax.plan._hlo_cost import Cost, program_cost
from signsal_jax.study import StudyConfig, study_cut, study_step

CHANNELS = 3
# The compiler spends most of its time ordering instructions, which matters little to a plan.
# Without that, a convolution at full precision compiles in 0.7 s instead of 24 s; the step of
# ResNet-18 keeps its products and collectives and takes 0.5 % more memory.
COMPILER_OPTIONS = {"exec_time_optimization_effort": -1.0}
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class DoesNotFitError(ValueError):
    """The step needs more memory than a chip has."""

    def __init__(self, message: str, needed: int | None):
        super().__init__(message)
        self.needed = needed


@dataclasses.dataclass(frozen=True)
class Workload:
    """The study that is planned."""

    topology: str
    """Chip and shape, such as "v5e:16x16"."""
    model: str
    """A network of the zoo; its weights do not matter here."""
    config: StudyConfig
    """The computation and storage. Its class_chunk counts, its data set does not."""
    classes: int = 1000
    images: int = 1_280_000
    batch_per_device: int = 8
    """Images on each chip at a time."""
    class_devices: int = 1
    """Number of chips that share the classes of one image."""
    image_size: int | None = None
    """Height and width; None for the size that the network was designed for."""

    def __post_init__(self) -> None:
        for name in ("images", "batch_per_device", "class_devices"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.batch_per_device % self.class_devices:
            raise ValueError(
                f"batch_per_device: expected a multiple of class_devices, {self.class_devices}, "
                f"got {self.batch_per_device}"
            )

    @property
    def pixels(self) -> int:
        """Height and width of the images."""
        return self.image_size or image_size(self.model)

    @functools.cached_property
    def cut(self) -> Cut | None:
        """What the study's class gradients are computed through, see `study_cut`."""
        apply_fn, variables = self.network()
        shape = (self.batch_per_device, self.pixels, self.pixels, CHANNELS)
        found: list[Cut | None] = []

        def look(variables: Any, images: Array) -> None:
            estimator = self.config.make_estimator()
            found.append(study_cut(self.config, apply_fn, variables, images, estimator))

        jax.eval_shape(look, variables, jax.ShapeDtypeStruct(shape, jnp.float32))
        return found[0]

    def network(self) -> tuple[ApplyFn, Variables]:
        """The network, with shapes in place of weights."""
        return from_nnx(
            nnx.eval_shape(lambda: create_backbone(self.model, self.classes, in_features=CHANNELS))
        )


@dataclasses.dataclass(frozen=True)
class CompiledStep:
    """Memory in bytes, and cost, of one step on one chip, according to the compiler."""

    arguments: int
    """The weights, and a batch of images."""
    outputs: int
    """A batch of results."""
    temporary: int
    program: int
    cost: Cost

    @property
    def memory(self) -> int:
        """Bytes that must fit: a step, and the previous step's results, still being written."""
        return self.arguments + 2 * self.outputs + self.temporary + self.program


def topology_devices(topology: str) -> tuple[Chip, list[Any]]:
    """The chips of a TPU topology; no machine here needs to have them.

    Raises:
      ValueError: an unknown chip, or a shape that it does not come in.
      RuntimeError: libtpu is not installed.
    """
    name = topology.partition(":")[0]
    if name not in CHIPS:
        raise ValueError(
            f"topology: expected a chip of {', '.join(CHIPS)} and a shape, such as v5e:4x4; "
            f"got {topology!r}"
        )
    chip = CHIPS[name]
    options = {"chip_config_name": chip.configuration} if chip.configuration else {}
    try:
        found = topologies.get_topology_desc(topology, platform="tpu", **options)
    except jax.errors.JaxRuntimeError as error:
        raise ValueError(
            f"topology: expected a shape that {name} comes in, got {topology!r}: {error}"
        ) from error
    return chip, list(found.devices)


def compile_step(workload: Workload, devices: Sequence[Any]) -> CompiledStep:
    """Compiles `study_step` for these devices, one batch on each.

    Raises:
      ValueError: `DoesNotFitError` if a chip's memory is too small; an unknown model, or
        class_devices that do not divide the number of devices.
    """
    mesh = sharding.make_mesh(devices, class_devices=workload.class_devices)
    apply_fn, variables = workload.network()
    everywhere = NamedSharding(mesh, PartitionSpec())
    by_image = NamedSharding(mesh, sharding.BY_IMAGE)
    batch = workload.batch_per_device * mesh.shape["data"]
    shape = (batch, workload.pixels, workload.pixels, CHANNELS)

    def step(variables: Any, images: Array, labels: Array) -> dict[str, Array]:
        return study_step(apply_fn, variables, images, labels, config=workload.config, mesh=mesh)

    lowered = jax.jit(step, compiler_options=COMPILER_OPTIONS).lower(
        jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=everywhere),
            variables,
        ),
        jax.ShapeDtypeStruct(shape, jnp.float32, sharding=by_image),
        jax.ShapeDtypeStruct((batch,), jnp.int32, sharding=by_image),
    )
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        size = re.search(r"\(([\d.]+)([KMGT]?)\)", str(error))
        raise DoesNotFitError(
            f"the step does not fit {workload.topology}: expected a smaller batch per device than "
            f"{workload.batch_per_device} or class chunk than {workload.config.class_chunk}: "
            f"{str(error).splitlines()[0]}",
            int(float(size[1]) * _UNITS[size[2]]) if size else None,
        ) from error
    memory, text = compiled.memory_analysis(), compiled.as_text()
    assert memory is not None
    assert text is not None
    return CompiledStep(
        memory.argument_size_in_bytes,
        memory.output_size_in_bytes,
        memory.temp_size_in_bytes,
        memory.generated_code_size_in_bytes,
        program_cost(text),
    )
